"""The auxiliary semantic branch against its oracle."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.semantic_branch import (
    AtrousSpatialPyramidPooling,
    SemanticDecoder,
    SemanticHead,
)
from tests.model.oracles import conv_bn, dense, separable_conv_bn
from tests.model.weights import close, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
FEATURES = {
    stride: random(2, 32 // stride + 1, 64 // stride + 1, channels)
    for stride, channels in ((4, 3), (8, 4), (16, 5), (32, 6))
}


def pyramid(layer, x, rates):
    parts = [conv_bn(layer.pointwise, x, oracle.gelu)]
    parts += [
        conv_bn(conv, x, oracle.gelu, dilation=rate) for conv, rate in zip(layer.atrous, rates)
    ]
    pooled = conv_bn(layer.pooling, x.mean((1, 2), keepdims=True), oracle.gelu)
    parts.append(np.broadcast_to(pooled, parts[0].shape))
    return conv_bn(layer.projection, np.concatenate(parts, axis=-1), oracle.gelu)


def classify(layer, x):
    return dense(layer.last_conv, separable_conv_bn(layer.separable_conv, x))


def test_pyramid_equals_the_oracle():
    x = random(2, 5, 3, 4)
    layer = randomized(AtrousSpatialPyramidPooling(3, [1, 2, 6], 0.5, NORM), x)
    close(layer(x), pyramid(layer, x, [1, 2, 6]))


def test_pyramid_drops_in_training_only():
    layer = AtrousSpatialPyramidPooling(64, [1], 0.5, NORM)
    x = random(2, 5, 3, 4)
    np.testing.assert_array_equal(layer(x), layer(x))
    tf.random.set_seed(0)
    assert 0.3 < (layer(x, training=True).numpy() == 0).mean() < 0.7


def test_head_alone_reads_the_coarsest_feature():
    layer = randomized(SemanticHead(5, 3, NORM), FEATURES)
    close(layer(FEATURES), classify(layer, FEATURES[32]))


def test_decoder_equals_the_oracle():
    aspp = AtrousSpatialPyramidPooling(4, [1, 2], 0.1, NORM, name="aspp")
    layer = SemanticDecoder(5, 3, aspp, [(8, 3), (4, 2)], tf.nn.relu, NORM)
    randomized(layer, FEATURES)
    x = pyramid(aspp, FEATURES[32], [1, 2])
    for stride, projection, fusion in zip((8, 4), layer.low_level_projections, layer.fusions):
        low_level = conv_bn(projection, oracle.relu(FEATURES[stride]), oracle.gelu)
        x = oracle.resize(x, *low_level.shape[1:3])
        x = separable_conv_bn(fusion, np.concatenate([x, low_level], axis=-1))
    expected = classify(layer, x)
    assert expected.shape == (2, 9, 17, 5)
    close(layer(FEATURES), expected, 1e-3)
