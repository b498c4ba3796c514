"""The auxiliary semantic branch against its oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.semantic_branch import (
    AtrousSpatialPyramidPooling,
    SemanticDecoder,
    SemanticHead,
)
from tests.model.weights import array, norm_of, random, randomize
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
FEATURES = {
    stride: random(2, 32 // stride + 1, 64 // stride + 1, channels)
    for stride, channels in ((4, 3), (8, 4), (16, 5), (32, 6))
}


def conv_gelu(layer, x, dilation=1):
    y = oracle.convolve(x, array(layer.conv.kernel), 1, dilation)
    return oracle.gelu(oracle.normalize(y, norm_of(layer.batch_norm)))


def separable(layer, x):
    y = oracle.convolve_depthwise(x, array(layer.depthwise.conv.depthwise_kernel))
    y = oracle.gelu(oracle.normalize(y, norm_of(layer.depthwise.batch_norm)))
    return conv_gelu(layer.pointwise, y)


def pyramid(layer, x, rates):
    parts = [conv_gelu(layer.pointwise, x)]
    parts += [conv_gelu(conv, x, rate) for conv, rate in zip(layer.atrous, rates)]
    pooled = conv_gelu(layer.pooling, x.mean((1, 2), keepdims=True))
    parts.append(np.broadcast_to(pooled, parts[0].shape))
    return conv_gelu(layer.projection, np.concatenate(parts, axis=-1))


def classify(layer, x):
    y = separable(layer.separable_conv, x)
    return y @ array(layer.last_conv.kernel)[0, 0] + array(layer.last_conv.bias)


def test_pyramid_equals_the_oracle():
    layer = AtrousSpatialPyramidPooling(3, [1, 2, 6], 0.5, NORM)
    x = random(2, 5, 3, 4)
    layer(x)
    randomize(layer)
    expected = pyramid(layer, x.astype(np.float64), [1, 2, 6])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_pyramid_drops_in_training_only():
    layer = AtrousSpatialPyramidPooling(64, [1], 0.5, NORM)
    x = random(2, 5, 3, 4)
    np.testing.assert_array_equal(layer(x), layer(x))
    tf.random.set_seed(0)
    assert 0.3 < (layer(x, training=True).numpy() == 0).mean() < 0.7


def test_head_alone_reads_the_coarsest_feature():
    layer = SemanticHead(5, 3, NORM)
    layer(FEATURES)
    randomize(layer)
    expected = classify(layer, FEATURES[32].astype(np.float64))
    np.testing.assert_allclose(layer(FEATURES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("activation", "act"), [(tf.nn.relu, oracle.relu)])
def test_decoder_equals_the_oracle(activation, act):
    aspp = AtrousSpatialPyramidPooling(4, [1, 2], 0.1, NORM, name="aspp")
    layer = SemanticDecoder(5, 3, aspp, [(8, 3), (4, 2)], activation, NORM)
    layer(FEATURES)
    randomize(layer)
    x = pyramid(aspp, FEATURES[32].astype(np.float64), [1, 2])
    for stride, projection, fusion in zip((8, 4), layer.low_level_projections, layer.fusions):
        low_level = conv_gelu(projection, act(FEATURES[stride].astype(np.float64)))
        x = oracle.resize(x, *low_level.shape[1:3])
        x = separable(fusion, np.concatenate([x, low_level], axis=-1))
    expected = classify(layer, x)
    assert expected.shape == (2, 9, 17, 5)
    np.testing.assert_allclose(layer(FEATURES), expected, rtol=1e-3, atol=1e-4)
