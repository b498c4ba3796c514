"""The k-means update against pixel-by-pixel loops."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.kmeans_attention import KMeansAttention
from tests.model.oracles import dense_bn
from tests.model.weights import norm_of, precision, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

# They speak through the mask logits only.
CENTERS = np.full([1, 2, 4], np.nan, np.float32)


def fresh():
    return KMeansAttention(4, with_defaults(BatchNormFactory))


def kmeans_attention(layer, features, mask_logits):
    values, logits = (
        x.reshape(len(x), -1, x.shape[-1])
        for x in (dense_bn(layer.value_projection, features), mask_logits)
    )
    _, sums = oracle.assign_and_sum(logits, values)
    return dense_bn(layer.output_projection, oracle.normalize(sums, norm_of(layer.batch_norm)))


@pytest.fixture(scope="module")
def layer():
    return randomized(fresh(), CENTERS, random(2, 3, 5, 7), random(2, 3, 5, 6))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tied=st.booleans())
def test_layer_equals_the_oracle(layer, seed, tied):
    logits, features = random(2, 3, 5, 6, seed=seed), random(2, 3, 5, 7, seed=seed + 1)
    if tied:
        logits = np.round(logits)
    expected = kmeans_attention(layer, features, logits)
    for form in (contextlib.nullcontext(), ops.definitions()):
        with form:
            found = layer(CENTERS, features, logits)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_passes_the_assignment():
    logits, features = tf.constant(random(1, 3, 3, 2)), tf.constant(random(1, 3, 3, 5))
    layer = randomized(fresh(), CENTERS, features, logits)
    with tf.GradientTape() as tape:
        tape.watch([logits, features])
        update = tf.reduce_sum(layer(CENTERS, features, logits))
    of_logits, of_features = tape.gradient(update, [logits, features])
    assert of_logits is None
    assert (np.abs(of_features).max(-1) > 0).all()


def test_update_starts_at_zero():
    update = fresh()(CENTERS, random(1, 3, 3, 5), random(1, 3, 3, 2), training=True)
    np.testing.assert_array_equal(update, np.zeros([1, 2, 4]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_update_is_finite_in_low_precision(policy):
    logits, features = random(1, 300, 300, 2), random(1, 300, 300, 5)
    logits[..., 1] -= 100.0  # all pixels to one center
    with precision(policy):
        layer = randomized(fresh(), CENTERS, features, logits)
        update = layer(CENTERS, features, logits, training=True)
    assert np.isfinite(tf.cast(update, tf.float32)).all()
