"""Attention among centers and to pixels, against loops over images, heads and centers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.attention import SelfAttention, SoftmaxAttention
from kmax_tf.model.batch_norm import BatchNormFactory
from tests.model.weights import array, norm_of, random, randomize
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

HEADS = 2
WIDTHS = {"channels": 8, "key_channels": 4, "value_channels": 8, "num_heads": HEADS}


def projected(layer, x):
    return oracle.normalize(x @ array(layer.dense.kernel), norm_of(layer.batch_norm))


def attention_weights(layer):
    return {
        "output_kernel": array(layer.output_projection.dense.kernel),
        "similarity": norm_of(layer.batch_norm_similarity),
        "value": [part.reshape(layer.num_heads, -1) for part in norm_of(layer.batch_norm_value)],
        "output": norm_of(layer.output_projection.batch_norm),
    }


def self_attention(layer, centers):
    weights = {
        "qkv_kernel": array(layer.qkv_projection.dense.kernel),
        "key_channels": layer.key_channels,
        "qkv": norm_of(layer.qkv_projection.batch_norm),
        **attention_weights(layer),
    }
    return oracle.self_attention(centers, weights, layer.num_heads)


@pytest.fixture
def among_centers():
    layer = SelfAttention(**WIDTHS, batch_norm=with_defaults(BatchNormFactory))
    layer(random(2, 5, 8))
    randomize(layer)
    return layer


@pytest.fixture
def to_pixels():
    layer = SoftmaxAttention(**WIDTHS, batch_norm=with_defaults(BatchNormFactory))
    layer(random(2, 5, 8), random(2, 4, 3, 7), random(2, 4, 3, 5))
    randomize(layer)
    return layer


def test_self_attention_equals_the_oracle(among_centers):
    centers = random(2, 5, 8)
    expected = self_attention(among_centers, centers.astype(np.float64))
    np.testing.assert_allclose(among_centers(centers), expected, rtol=1e-4, atol=1e-5)


def test_self_attention_permutes_with_the_centers(among_centers):
    centers, order = random(1, 5, 8), [3, 1, 4, 0, 2]
    np.testing.assert_allclose(
        among_centers(centers[:, order]),
        among_centers(centers).numpy()[:, order],
        rtol=1e-4,
        atol=1e-5,
    )


def test_softmax_attention_equals_the_oracle(to_pixels):
    centers, features = random(2, 5, 8), random(2, 4, 3, 7, seed=1)
    pixels = projected(to_pixels.key_value_projection, features.reshape(2, 12, 7).astype(float))
    query = projected(to_pixels.query_projection, centers.astype(float))
    expected = oracle.attend(
        query, pixels[..., :4], pixels[..., 4:], attention_weights(to_pixels), HEADS
    )
    found = to_pixels(centers, features, random(2, 4, 3, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_softmax_attention_has_gradients_that_the_assignment_lacks(to_pixels):
    inputs = [tf.constant(random(*shape)) for shape in ((2, 5, 8), (2, 4, 3, 7), (2, 4, 3, 5))]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        update = tf.reduce_sum(to_pixels(*inputs) ** 2)
    of_centers, of_features, of_logits = tape.gradient(update, inputs)
    assert (np.abs(of_centers).max(-1) > 0).all()
    assert (np.abs(of_features).max(-1) > 0).all()
    assert of_logits is None


@pytest.mark.parametrize("kind", ["among_centers", "to_pixels"])
def test_folded_attention_computes_the_same(kind, request):
    layer = request.getfixturevalue(kind)
    inputs = [random(2, 5, 8)]
    if kind == "to_pixels":
        inputs += [random(2, 4, 3, 7), random(2, 4, 3, 5)]
    expected = layer(*inputs).numpy()
    for part in reversed([part for part in layer.submodules if hasattr(part, "fold")]):
        part.fold()
    layer.fold()
    np.testing.assert_allclose(layer(*inputs), expected, rtol=1e-4, atol=1e-5)
