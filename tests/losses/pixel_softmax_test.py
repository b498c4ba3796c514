"""The softmax of the mask terms against TensorFlow's own operations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses import pixel_softmax

BATCH, PIXELS, CENTERS = 2, 37, 9


def plain(logits, targets, weights):
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets, 0), logits)
    normalizers = tf.reduce_logsumexp(logits, axis=2)
    sums = tf.reduce_sum(tf.nn.softmax(logits) * weights[..., tf.newaxis], axis=1)
    return tf.where(targets >= 0, entropy, normalizers), sums


def value_and_gradient(function, logits, targets, weights):
    random = np.random.default_rng(1)
    of_entropy, of_sums = (
        tf.constant(random.normal(size=shape), tf.float32)
        for shape in ([BATCH, PIXELS], [BATCH, CENTERS])
    )
    with tf.GradientTape() as tape:
        tape.watch(logits)
        entropy, sums = function(logits, targets, weights)
        total = tf.reduce_sum(of_entropy * entropy) + tf.reduce_sum(of_sums * sums)
    return entropy, sums, tape.gradient(total, logits)


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("compile_it", [None, True])
@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
def test_values_and_gradients(monkeypatch, scale, compile_it, accelerated):
    """Also of logits so far apart that the smaller probabilities vanish."""
    monkeypatch.setattr(pixel_softmax, "accelerated", lambda: accelerated)
    random = np.random.default_rng(0)
    arguments = (
        tf.constant(scale * random.normal(size=[BATCH, PIXELS, CENTERS]), tf.float32),
        tf.constant(random.integers(-1, CENTERS, [BATCH, PIXELS]), tf.int32),
        tf.constant(random.random([BATCH, PIXELS]) < 0.7, tf.float32),
    )
    expected = value_and_gradient(plain, *arguments)
    run = tf.function(value_and_gradient, jit_compile=compile_it)
    found = run(pixel_softmax.cross_entropy_and_sums, *arguments)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * max(scale, 1.0))


@pytest.mark.parametrize("place", [0, 5, 127])
def test_nan_stays(place):
    """So that a broken step is seen."""
    logits = np.zeros([1, 1, 128], np.float32)
    logits[..., place] = float("nan")
    entropy, sums = pixel_softmax.cross_entropy_and_sums(
        tf.constant(logits), tf.constant([[1]]), tf.constant([[1.0]])
    )
    assert np.isnan(entropy).all()
    assert np.isnan(sums).any()


def test_certain_pixels_lose_nothing():
    """A loss of exactly 0 is what leaves them out of the mean."""
    logits = tf.constant([[[40.0, 0.0, 0.0]]])
    entropy, _ = pixel_softmax.cross_entropy_and_sums(
        logits, tf.constant([[0]]), tf.constant([[1.0]])
    )
    assert float(entropy[0, 0]) == 0.0
