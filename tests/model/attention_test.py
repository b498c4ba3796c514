"""Attention among centers and to pixels, against loops over images, heads and centers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.attention import AttentionOptions, SelfAttention, SoftmaxAttention
from kmax_tf.model.batch_norm import BatchNormFactory
from tests.model.oracles import dense_bn
from tests.model.weights import array, close, norm_of, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

OPTIONS = AttentionOptions(channels=8, key_channels=4, value_channels=8, num_heads=2)
CENTERS, FEATURES, LOGITS = random(2, 5, 8), random(2, 4, 3, 7, seed=1), random(2, 4, 3, 5)


def attend(layer, query, key, value):
    """Of both attentions, behind their projections."""
    heads = layer.options.num_heads
    weights = {
        "output_kernel": array(layer.output_projection.dense.kernel),
        "similarity": norm_of(layer.batch_norm_similarity),
        "value": [part.reshape(heads, -1) for part in norm_of(layer.batch_norm_value)],
        "output": norm_of(layer.output_projection.batch_norm),
    }
    return oracle.attend(query, key, value, weights, heads)


def self_attention(layer, centers):
    qkv = dense_bn(layer.qkv_projection, centers)
    keys = layer.options.key_channels
    return attend(layer, *np.split(qkv, [keys, 2 * keys], axis=-1))


@pytest.fixture
def among_centers():
    return randomized(SelfAttention(OPTIONS, with_defaults(BatchNormFactory)), CENTERS)


@pytest.fixture
def to_pixels():
    layer = SoftmaxAttention(OPTIONS, with_defaults(BatchNormFactory))
    return randomized(layer, CENTERS, FEATURES, LOGITS)


def test_self_attention_equals_the_oracle(among_centers):
    close(among_centers(CENTERS), self_attention(among_centers, CENTERS))


def test_softmax_attention_equals_the_oracle(to_pixels):
    pixels = dense_bn(to_pixels.key_value_projection, FEATURES.reshape(2, 12, 7))
    query = dense_bn(to_pixels.query_projection, CENTERS)
    expected = attend(to_pixels, query, pixels[..., :4], pixels[..., 4:])
    close(to_pixels(CENTERS, FEATURES, LOGITS), expected)


def test_softmax_attention_has_gradients_that_the_assignment_lacks(to_pixels):
    inputs = [tf.constant(x) for x in (CENTERS, FEATURES, LOGITS)]
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
    inputs = [CENTERS] if kind == "among_centers" else [CENTERS, FEATURES, LOGITS]
    expected = layer(*inputs).numpy()
    for part in reversed([part for part in layer.submodules if hasattr(part, "fold")]):
        part.fold()
    layer.fold()
    close(layer(*inputs), expected)
