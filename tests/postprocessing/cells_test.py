"""Interpolation cell by cell, and what the corners of a cell say of its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.postprocessing.cells import Cells
from kmax_tf.postprocessing.full_size import Grid, in_chunks, read_pixels
from kmax_tf.postprocessing.readings import Best
from tests.reference.layers_oracle import softmax


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_interpolation_is_that_of_tensorflow_to_the_last_bit(stride):
    logits = tf.constant(np.random.default_rng(0).normal(size=[2, 5, 7, 3], scale=9), tf.float32)
    size = [4 * stride + 1, 6 * stride + 1]
    expected = tf.raw_ops.ResizeBilinear(images=logits, size=size, align_corners=True)
    pixels = read_pixels(logits, stride, lambda values, _: values)
    np.testing.assert_array_equal(pixels, expected)
    images = read_pixels(logits, stride, lambda _, image: image)
    np.testing.assert_array_equal(images, np.broadcast_to([[[0]], [[1]]], [2, *size]))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.1, 1 / 3, 0.4, 0.5, 0.8]),
    lead=st.floats(0, 8),
    scale=st.floats(0.1, 20),
)
def test_in_a_settled_cell_one_center_has_every_pixel(seed, threshold, lead, scale):
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=[2, 2, 5], scale=scale)
    corners[..., 2] = corners.max(axis=-1) + lead + rng.exponential(size=[2, 2])
    probability = softmax(corners.reshape([4, 5]))
    best = Best(
        tf.constant(probability.argmax(axis=1), tf.int32),
        tf.constant(probability.max(axis=1), tf.float32),
    )
    grid = Grid.of(tf.constant(corners[np.newaxis], tf.float32), 8)
    settled = Cells.settle(grid, best, threshold).settled[0]  # the cell between the four
    fine = np.linspace(0, 1, 17)
    rows = corners[0] + fine[:, np.newaxis, np.newaxis] * (corners[1] - corners[0])
    inside = rows[:, :1] + fine[:, np.newaxis] * (rows[:, 1:] - rows[:, :1])  # [17, 17, N]
    members = softmax(inside) > threshold
    if settled >= 0:
        assert (inside.argmax(axis=-1) == settled.numpy()).all()
        assert (members.sum(axis=-1) == 1).all()
        assert members[..., settled.numpy()].all()
    else:  # not for nothing
        assert probability[:, 2].min() <= max(threshold, 1 - threshold) + 2e-3


def test_sure_cells_are_settled_and_cells_at_borders_open():
    center = np.zeros([1, 3, 6], np.int32)
    center[:, :, 3:] = 1
    best = Best(tf.reshape(center, [-1]), tf.fill([18], 0.9))
    grid = Grid.of(tf.zeros([1, 3, 6, 2]), 4)
    cells = Cells.settle(grid, best, 0.4)
    expected = [[0, 0, -1, 1, 1, 1]] * 3
    np.testing.assert_array_equal(tf.reshape(cells.settled, [3, 6]), expected)
    np.testing.assert_array_equal(cells.open, [2, 8, 14])
    assert int(tf.reduce_sum(cells.weights)) == 9 * 21  # each pixel of the map, once
    items = cells.items(cells.settled, tf.fill([3, 16], 7))
    full = cells.as_map(items)[0].numpy()
    assert full.shape == (9, 21)
    assert (full[:, 8:12] == 7).all()
    assert (full[:, :8] == 0).all()
    assert (full[:, 12:] == 1).all()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 50])
@pytest.mark.parametrize("known", [True, False])
def test_chunks_are_joined_in_order(count, known):
    @tf.function(input_signature=[tf.TensorSpec([count if known else None], tf.int32)])
    def doubled(rows):
        return in_chunks(rows, lambda part: {"a": part * 2}, at_once=16)

    np.testing.assert_array_equal(doubled(tf.range(count))["a"], np.arange(count) * 2)
