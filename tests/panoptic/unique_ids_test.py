import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmax_tf.panoptic.unique_ids import unique_ids


@settings(max_examples=60, deadline=None)
@given(
    ids=hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.integers(-2, 5) | st.just(2**31 - 1),
    )
)
def test_ids_come_in_the_order_of_their_first_pixels(ids):
    found, areas = unique_ids(tf.constant(ids))
    expected = list(dict.fromkeys(ids.ravel().tolist()))
    assert found.numpy().tolist() == expected
    assert areas.numpy().tolist() == [(ids == one).sum() for one in expected]


def test_a_map_may_be_empty():
    found, areas = unique_ids(tf.zeros([0, 4], tf.int32))
    assert found.shape == areas.shape == (0,)
