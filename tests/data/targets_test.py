import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmax_tf.data.targets import make_targets
from tests.options import target_options
from tests.reference import panoptic_targets

# Unlabeled (with and without instance), crowds, instances, stuff with and without instance.
IDS = [0, 1, 100, 101, 102, 199, 300, 301, 200, 201, 500]


def as_numpy(targets):
    return {key: value.numpy() for key, value in targets.items()}


@settings(max_examples=60, deadline=None)
@given(
    panoptic=hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.sampled_from(IDS),
    )
)
def test_targets_agree_with_the_oracle(labels, panoptic):
    options = target_options(max_segments=9, small_instance_area=3, small_instance_weight=2.5)
    targets = as_numpy(make_targets(tf.constant(panoptic), labels, options))
    expected = panoptic_targets.make_targets(panoptic, labels, 9, 3, 2.5)
    for key, value in expected.items():
        np.testing.assert_array_equal(targets[key], value, err_msg=key)
        assert targets[key].dtype == value.dtype


@pytest.mark.parametrize("name", ["coco_b", "coco_c", "cityscapes"])
def test_targets_are_those_of_the_reference(golden, golden_labels, name):
    space = golden_labels[name]
    panoptic = tf.constant(golden[f"{name}/panoptic_gt"])
    small = target_options(small_instance_area=4096) if name == "cityscapes" else target_options()
    targets = as_numpy(make_targets(panoptic, space, small))
    np.testing.assert_array_equal(targets["semantic_map"], golden[f"{name}/semantic_gt"])
    thing_map = golden[f"{name}/thing_id_mask_gt"]
    num_things = thing_map.max() + 1
    segment_map = targets["segment_map"]
    np.testing.assert_array_equal(np.where(segment_map < num_things, segment_map, -1), thing_map)
    np.testing.assert_array_equal(
        space.ids[targets["segment_classes"][:num_things]],
        golden[f"{name}/thing_id_class_gt"][:num_things],
    )
    assert (segment_map[golden[f"{name}/is_crowd_gt"]] == -1).all()
    weights = golden.get(f"{name}/semantic_loss_weight", 1.0)
    np.testing.assert_array_equal(
        targets["semantic_weights"], np.broadcast_to(weights, thing_map.shape)
    )


def test_more_segments_than_the_room_is_an_error(labels):
    panoptic = tf.constant([[101, 102, 103, 200]])
    assert make_targets(panoptic, labels, target_options(max_segments=4))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="has 4 segments but max_segments allows 3"
    ):
        make_targets(panoptic, labels, target_options(max_segments=3))


def test_the_smallest_segments_lose_theirs_where_there_is_no_room(labels, capfd):
    panoptic = tf.constant([[500, 101, 101, 102, 103, 103, 103], [200, 200, 500, 1, 300, 501, 103]])
    everything = as_numpy(make_targets(panoptic, labels, target_options(max_segments=5)))
    assert not capfd.readouterr().err
    options = target_options(max_segments=3, on_crowded="DROP_SMALLEST")
    targets = as_numpy(make_targets(panoptic, labels, options))
    # Dog 103 has 4 pixels, the sky (of two ids) 3, then dog 101 comes before the grass.
    np.testing.assert_array_equal(
        targets["segment_map"], [[2, 0, 0, -1, 1, 1, 1], [-1, -1, 2, -1, -1, 2, 1]]
    )
    np.testing.assert_array_equal(targets["segment_classes"], [1, 1, 3])
    np.testing.assert_array_equal(targets["semantic_map"], everything["semantic_map"])
    assert "5 segments but max_segments allows 3" in capfd.readouterr().err
    roomy = target_options(max_segments=5, on_crowded="DROP_SMALLEST")
    for key, value in as_numpy(make_targets(panoptic, labels, roomy)).items():
        np.testing.assert_array_equal(value, everything[key])


def test_compiled_targets_are_the_same(labels):
    panoptic = tf.constant(np.random.default_rng(1).choice(np.array(IDS, np.int32), (12, 17)))
    options = target_options(max_segments=10, small_instance_area=20)
    compiled = target_options(max_segments=10, small_instance_area=20, compile=True)
    expected = as_numpy(make_targets(panoptic, labels, options))
    for key, value in as_numpy(make_targets(panoptic, labels, compiled)).items():
        np.testing.assert_array_equal(value, expected[key])


@pytest.mark.parametrize("strange", [401, 600, 99_999, -5])
def test_ids_of_no_class_are_an_error(labels, strange):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"no classes of the dataset.*'pets'.*{strange // 100}",
    ):
        make_targets(tf.constant([[101, strange]]), labels, target_options())
