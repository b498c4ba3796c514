from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kmax_tf.interchange.brush import decode_brush, encode_brush

masks = arrays.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@given(masks)
@settings(deadline=None)
def test_comes_back(mask):
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), *mask.shape), mask)


def test_long_runs():
    mask = np.zeros((300, 400), bool)
    mask[100:290] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), 300, 400), mask)


@pytest.mark.parametrize(
    "code", [[], [1, 2, 3], "text", [300], None, encode_brush(np.ones((2, 2)))]
)
def test_what_is_no_code_of_this_size_is_refused(code):
    with pytest.raises(ValueError, match="its run lengths can't be read"):
        decode_brush(code, 3, 3)
