"""The normalizers of the contrastive loss and their gradient against plain float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses.self_similarity import log_normalizers


def plain(vectors, upstream, temperature):
    """Returns normalizers [B, S] and the gradient of their sum weighted by `upstream`."""
    similarity = np.einsum("bid,bjd->bij", vectors, vectors) / temperature
    largest = similarity.max(axis=2, keepdims=True)
    sums = np.exp(similarity - largest).sum(axis=2, keepdims=True)
    normalizers = largest + np.log(sums)
    share = np.exp(similarity - normalizers) * upstream[..., np.newaxis]  # [B, S, S]
    gradient = (share + share.transpose(0, 2, 1)) @ vectors / temperature
    return normalizers[..., 0], gradient


# With padding for the halves to be equal, and without; with an offset of exponents, and without.
@pytest.mark.parametrize("count", [1, 5, 8, 21, 64])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.3, 2.0])
def test_values_and_gradients(count, temperature):
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=[2, count, 6])
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    upstream = rng.normal(size=[2, count])
    expected, expected_gradient = plain(vectors, upstream, temperature)

    given = tf.constant(vectors, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        normalizers = log_normalizers(given, temperature)
    gradient = tape.gradient(normalizers, given, tf.constant(upstream, tf.float32))
    np.testing.assert_allclose(normalizers, expected, rtol=1e-5, atol=1e-5)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-6 * scale * count)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["function", "xla"])
def test_compiled_for_any_batch(jit_compile):
    rng = np.random.default_rng(0)
    function = tf.function(
        lambda x: log_normalizers(x, 0.3),
        input_signature=[tf.TensorSpec([None, 20, 4])],
        jit_compile=jit_compile,
    )
    for batch in (1, 3):
        vectors = rng.normal(size=[batch, 20, 4]) / 2
        expected, _ = plain(vectors, np.ones([batch, 20]), 0.3)
        np.testing.assert_allclose(function(tf.constant(vectors, tf.float32)), expected, rtol=1e-5)
