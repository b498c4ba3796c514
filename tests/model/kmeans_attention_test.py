"""The k-means update against pixel-by-pixel loops."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.kmeans_attention import KMeansAttention
from tests.model.weights import array, norm_of, random, randomize
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

# They speak through the mask logits only.
CENTERS = np.full([1, 2, 4], np.nan, np.float32)


@pytest.fixture(scope="module")
def layer():
    """The layer with random weights."""
    layer = KMeansAttention(4, with_defaults(BatchNormFactory))
    layer(CENTERS, random(2, 3, 5, 7), random(2, 3, 5, 6))
    randomize(layer)
    return layer


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tied=st.booleans())
def test_layer_equals_the_oracle(layer, seed, tied):
    logits, features = random(2, 3, 5, 6, seed=seed), random(2, 3, 5, 7, seed=seed + 1)
    if tied:
        logits = np.round(logits)
    pixels = features.reshape(2, 15, 7).astype(np.float64)
    projection = layer.value_projection
    values = oracle.normalize(
        pixels @ array(projection.dense.kernel), norm_of(projection.batch_norm)
    )
    _, sums = oracle.assign_and_sum(logits.reshape(2, 15, 6), values)
    update = oracle.normalize(sums, norm_of(layer.batch_norm))
    output = layer.output_projection
    expected = oracle.normalize(update @ array(output.dense.kernel), norm_of(output.batch_norm))
    for form in (contextlib.nullcontext(), ops.definitions()):
        with form:
            found = layer(CENTERS, features, logits)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_passes_the_assignment():
    layer = KMeansAttention(4, with_defaults(BatchNormFactory))
    logits, features = tf.constant(random(1, 3, 3, 2)), tf.constant(random(1, 3, 3, 5))
    layer(CENTERS, features, logits)
    randomize(layer)
    with tf.GradientTape() as tape:
        tape.watch([logits, features])
        update = tf.reduce_sum(layer(CENTERS, features, logits))
    of_logits, of_features = tape.gradient(update, [logits, features])
    assert of_logits is None
    assert (np.abs(of_features).max(-1) > 0).all()


def test_update_starts_at_zero():
    layer = KMeansAttention(4, with_defaults(BatchNormFactory))
    update = layer(CENTERS, random(1, 3, 3, 5), random(1, 3, 3, 2), training=True)
    np.testing.assert_array_equal(update, np.zeros([1, 2, 4]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_update_is_finite_in_low_precision(policy):
    with low_precision(policy):
        layer = KMeansAttention(4, with_defaults(BatchNormFactory))
        logits, features = random(1, 300, 300, 2), random(1, 300, 300, 5)
        logits[..., 1] -= 100.0  # all pixels to one center
        layer(CENTERS, features, logits, training=True)
        randomize(layer)
        update = layer(CENTERS, features, logits, training=True)
    assert np.isfinite(tf.cast(update, tf.float32)).all()


@contextlib.contextmanager
def low_precision(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")
