"""Two ways to go through the masks, of which one knows pixels and the other only pairs of masks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.postprocessing.acceptance import Members, accept


@pytest.mark.parametrize("overlap_threshold", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_pairs_say_what_pixels_say(overlap_threshold):
    rng = np.random.default_rng(int(10 * overlap_threshold))
    batch, centers, items = 3, 7, 400
    image = rng.integers(batch, size=items)
    first = rng.integers(-1, centers, items)
    second = (first + rng.integers(1, centers, items)) % centers
    second = np.where((first >= 0) & (rng.random(items) < 0.5), second, -1)
    pair = np.stack([first, second], axis=1)
    numbered = np.where(pair >= 0, pair + image[:, np.newaxis] * centers, -1)
    weights = rng.integers(0, 20, items)
    order = np.stack([rng.permutation(centers) for _ in range(batch)])
    confident = rng.random([batch, centers]) < 0.7

    def accepted(members):
        every = Members(*(tf.constant(x, tf.int32) for x in (members, weights, image)))
        order_ = tf.constant(order, tf.int32)
        return accept(every, order_, tf.constant(confident), overlap_threshold)

    pairs = accepted(numbered)
    pixels = accepted(np.pad(numbered, [[0, 0], [0, 1]], constant_values=-1))  # k = 3
    np.testing.assert_array_equal(pairs.area, pixels.area)
    np.testing.assert_array_equal(pairs.mask_area, pixels.mask_area)
    if overlap_threshold in (0.5, 0.8):  # some are refused, some not
        assert 0 < (pairs.area.numpy() > 0).sum() < confident.sum()
    for number in range(batch):
        painted, taken = np.zeros(centers), np.zeros(items, bool)
        for center in order[number]:
            mask = (image == number) & (pair == center).any(axis=1)
            free = weights[mask & ~taken].sum()
            if confident[number, center] and free > overlap_threshold * weights[mask].sum():
                painted[center] = free
                taken |= mask
        np.testing.assert_array_equal(pairs.area[number], painted)
