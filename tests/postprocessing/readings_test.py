"""Which masks a pixel is in, against all its probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.postprocessing.cells import MaskGrid
from kmax_tf.postprocessing.readings import mask_reader, most_members, read_best, read_largest
from tests.reference.layers_oracle import softmax


@pytest.mark.parametrize(
    ("threshold", "most"),
    [(0.9, 2), (0.5, 2), (0.4, 2), (0.34, 2), (1 / 3, 3), (0.25, 4), (0.1, 10), (0.0, 12)],
)
def test_the_most_masks_of_a_pixel(threshold, most):
    assert most_members(12, threshold) == most


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("threshold", [0.45, 0.4, 1 / 3, 0.15, 0.0])
def test_all_masks_of_a_pixel_are_found(threshold, static):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=[300, 5], scale=3).astype("f4")
    logits[:100, 1] = logits[:100, 3] = logits[:100].max(axis=1) + 1  # two share the pixel
    image = rng.integers(3, size=300)
    grid = MaskGrid(tf.constant(logits), 1, 300, 1, 4, static)
    reading = mask_reader(grid, threshold)[0](tf.constant(logits), tf.constant(image, tf.int32))
    probability = softmax(logits.astype("f8"))
    found = np.zeros([300, 15], bool)
    pixel, place = np.nonzero(reading.members.numpy() >= 0)
    found[pixel, reading.members.numpy()[pixel, place]] = True
    expected = np.zeros([300, 3, 5], bool)
    expected[np.arange(300), image] = probability > threshold
    np.testing.assert_array_equal(found, expected.reshape([300, 15]))
    np.testing.assert_allclose(
        reading.probabilities.numpy()[pixel, place],
        probability[pixel, reading.members.numpy()[pixel, place] % 5],
        rtol=1e-5,
    )
    np.testing.assert_array_equal(reading.best.center, logits.argmax(axis=1) + 5 * image)
    np.testing.assert_allclose(reading.best.probability, probability.max(axis=1), rtol=1e-5)
    assert (np.diff(reading.probabilities, axis=1) <= 0).all()


def test_the_best_alone():
    logits = tf.constant([[0.0, 2.0, 2.0], [np.nan, 1.0, 0.0], [np.inf, 0.0, 0.0]])
    best = read_best(logits, tf.constant([0, 1, 2]))
    np.testing.assert_array_equal(best.center, [1, -1, -1])  # the first of equals
    np.testing.assert_allclose(best.probability, [1 / (2 + np.exp(-2)), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(
        read_largest(logits[:1], tf.constant([0])), best.probability[:1], rtol=1e-6
    )
