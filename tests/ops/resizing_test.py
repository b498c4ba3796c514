"""Resizing and subsampling against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.ops.resizing import resize_bilinear, resize_map, subsample, valid_scaled_size
from tests.model.weights import random
from tests.reference import layers_oracle


@pytest.mark.parametrize("size", [(9, 5), (5, 3), (17, 17), (3, 7), (2, 2)])
def test_bilinear_resizing_aligns_corners(size):
    x = tf.constant(random(2, 5, 3, 2))
    expected = layers_oracle.resize(x.numpy().astype(np.float64), *size)
    np.testing.assert_allclose(resize_bilinear(x, size), expected, atol=1e-5)
    np.testing.assert_allclose(resize_bilinear(x[0], tf.constant(size)), expected[0], atol=1e-5)


def test_what_fits_stays_and_floats_keep_their_type():
    x = tf.constant(random(1, 5, 3, 2))
    assert resize_bilinear(x, (5, 3)) is x
    assert resize_bilinear(tf.cast(x, tf.bfloat16), (9, 5)).dtype == tf.bfloat16
    integers = tf.ones([5, 3, 1], tf.uint8)
    assert {resize_bilinear(integers, size).dtype for size in ((5, 3), (9, 5))} == {tf.float32}


def test_maps_take_the_nearest_with_aligned_corners():
    ids = tf.constant([[1, 2, 3], [4, 5, 6]])
    expected = [[1, 1, 2, 2, 2, 3, 3], [4, 4, 5, 5, 5, 6, 6]]  # halves go up
    np.testing.assert_array_equal(resize_map(ids, (2, 7)), expected)
    np.testing.assert_array_equal(resize_map(ids[tf.newaxis], tf.constant([2, 7]))[0], expected)


def test_subsample_takes_every_stride_th_pixel():
    full = tf.reshape(tf.range(17 * 25), [1, 17, 25])
    taken = subsample(full, tf.zeros([1, 5, 7, 2]))
    np.testing.assert_array_equal(taken, full[:, ::4, ::4])


@pytest.mark.parametrize("grid", [(5, 6), (4, 7), (6, 7), (5, 13)])
def test_subsample_refuses_what_does_not_divide(grid):
    with pytest.raises(kmax_tf.UserError, match="32k"):
        subsample(tf.zeros([1, 17, 25]), tf.zeros([1, *grid, 2]))


@pytest.mark.parametrize("scale", [0.1, 0.5, 0.75, 1.25, 2.0])
def test_scaled_sizes_are_the_same_whether_known_or_not(scale):
    images = tf.zeros([1, 65, 161, 3])
    dynamic = tf.function(
        lambda x: valid_scaled_size(x, scale), [tf.TensorSpec([None, None, None, 3])]
    )
    np.testing.assert_array_equal(valid_scaled_size(images, scale), dynamic(images))
