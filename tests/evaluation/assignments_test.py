"""Assignments of pixels to centers, brought back to the image, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import figures
from kmax_tf.evaluation import assignments
from kmax_tf.evaluation.assignments import InputSizes, draw_assignments
from kmax_tf.inference import assignments_by_block
from tests.reference.panoptic_maps import LABELS, ROADS, SKIES, resized

# The network's input, and the image in it; the rest is padding.
WHOLE, FITTED = (65, 97), (65, 49)
STRIDES = (32, 16, 4)


def random_maps(num_centers=5, seed=0):
    """Makes one map [h, w] a stride."""
    rng = np.random.default_rng(seed)
    sizes = [[(side - 1) // stride + 1 for side in WHOLE] for stride in STRIDES]
    return [rng.integers(0, num_centers, size).astype(np.int32) for size in sizes]


@pytest.fixture
def drawn(monkeypatch):
    """Returns a function that draws and returns what `draw_clusters` was given."""
    given = {}

    def record(image, stages, panoptic, labels, shown):
        given.update(image=image, stages=stages, panoptic=panoptic, shown=shown)
        return figures.draw_clusters(image, stages, panoptic, labels, shown)

    monkeypatch.setattr(assignments, "draw_clusters", record)

    def draw(maps, height, width, blocks=None):
        image = np.random.default_rng(1).integers(0, 256, [height, width, 3], np.uint8)
        panoptic = np.where(np.arange(width) < width // 2, ROADS, SKIES)
        panoptic = np.broadcast_to(panoptic, (height, width)).astype(np.int32)
        sizes = InputSizes(WHOLE, tf.constant(FITTED))
        tensors = [tf.constant(values) for values in maps]
        sheet = draw_assignments(image, panoptic, tensors, sizes, LABELS, blocks)
        return {**given, "sheet": sheet, "original": image, "truth": panoptic}

    return draw


def test_each_pixel_goes_to_the_center_of_its_largest_logit():
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(2, *size, 6)) for size in ((3, 4), (5, 7), (17, 25))]
    predictions = {
        "mask_logits": logits[2],
        "intermediate": [{"mask_logits": logits[0]}, {"mask_logits": logits[1]}],
    }
    maps = assignments_by_block(predictions)
    assert [values.dtype for values in maps] == [tf.int32] * 3
    for values, of_stage in zip(maps, logits):
        np.testing.assert_array_equal(values, of_stage.argmax(axis=-1))


def test_ties_go_to_the_lowest_center_as_in_a_block():
    logits = np.zeros([1, 2, 2, 4], np.float32)
    logits[..., 1] = logits[..., 3] = 1
    (values,) = assignments_by_block({"mask_logits": logits, "intermediate": []})
    assert (values.numpy() == 1).all()


def test_maps_come_back_to_the_image(drawn):
    """Enlarged to the network's input, cut to the image in it, brought to the image's size."""
    maps = random_maps()
    stages = drawn(maps, 130, 98)["stages"]
    assert [stage.name for stage in stages] == ["block 1", "block 2", "final masks"]
    assert [stage.stride for stage in stages] == [32, 16, 4]
    for stage, values in zip(stages, maps):
        in_input = resized(values, *WHOLE)[: FITTED[0], : FITTED[1]]
        np.testing.assert_array_equal(stage.centers, resized(in_input, 130, 98))


def test_padding_is_not_drawn(drawn):
    """Columns of the map are 32 pixels apart, so the image's last, 48, is half-way to the third."""
    maps = [np.array([[0, 1, 2, 3]] * 3, np.int32)]
    (stage,) = drawn(maps, 65, 49)["stages"]
    assert sorted(np.unique(stage.centers)) == [0, 1, 2]
    assert np.mean(stage.centers == 2) == 1 / 49
    (stage,) = drawn([maps[0][:, ::-1]], 65, 49)["stages"]
    assert sorted(np.unique(stage.centers)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [(None, None), ([1], {0, 2}), ([2, 1], {0, 1, 2}), ((2, 2), {1, 2}), ([], {2})],
)
def test_blocks_are_picked_and_the_final_masks_always_come(drawn, blocks, shown):
    assert drawn(random_maps(), 40, 60, blocks)["shown"] == shown


def test_large_images_are_shrunk_for_drawing(drawn):
    given = drawn(random_maps(), 1300, 980)
    assert given["image"].shape == (640, 482, 3)
    assert given["image"].dtype == np.uint8
    assert given["panoptic"].shape == (640, 482)
    assert {stage.centers.shape for stage in given["stages"]} == {(640, 482)}
    np.testing.assert_array_equal(given["panoptic"], resized(given["truth"], 640, 482))
    # Smoothly: each pixel is the mean of about four.
    assert given["image"].mean() == pytest.approx(given["original"].mean(), abs=0.5)
    assert given["image"].std() < 0.6 * given["original"].std()


def test_others_keep_their_pixels(drawn):
    given = drawn(random_maps(), 480, 640)
    np.testing.assert_array_equal(given["image"], given["original"])
    np.testing.assert_array_equal(given["panoptic"], given["truth"])
