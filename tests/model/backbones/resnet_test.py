"""ResNet: strides, widths, what is activated, drop path."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.backbones.resnet import ResNet, keep_prob
from kmax_tf.model.layers import BatchNormFactory
from tests.model.weights import random, randomize

NORM = BatchNormFactory()


def small(**options):
    return ResNet([2, 3, 4, 5], [1, 2, 3, 2], tf.nn.relu, NORM, stem_channels=3, **options)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (65, 97), (129, 33)])
def test_features_of_every_stride(height, width):
    features = small()(random(2, height, width, 3))
    channels = {2: 3, 4: 8, 8: 12, 16: 16, 32: 20}
    assert list(features) == [2, 4, 8, 16, 32]
    for stride, x in features.items():
        assert x.shape == [
            2,
            (height - 1) // stride + 1,
            (width - 1) // stride + 1,
            channels[stride],
        ]


def test_features_are_not_activated():
    backbone = small()
    x = random(2, 33, 33, 3)
    backbone(x)
    randomize(backbone)
    assert all((feature.numpy() < 0).any() for feature in backbone(x).values())


def test_equals_its_parts_in_order():
    backbone = small()
    x = random(2, 33, 33, 3)
    backbone(x)
    randomize(backbone)
    expected = backbone.stem(x)
    features = backbone(x)
    np.testing.assert_allclose(features[2], expected, rtol=1e-5)
    for stride, stage in zip((4, 8, 16, 32), backbone.stages):
        expected = stage(expected)
        np.testing.assert_allclose(features[stride], expected, rtol=1e-4, atol=1e-4)


def test_drop_path_follows_the_stride_of_the_blocks_input():
    backbone = small(drop_path_keep_prob=0.8)
    probs = [[b.drop_path.keep_prob for b in stage.blocks] for stage in backbone.stages]
    expected = [[1.0], [1.0, 1.0], [1.0, 0.85, 0.85], [0.85, 0.8]]
    assert probs == [pytest.approx(row) for row in expected]


def test_keep_prob():
    assert [keep_prob(0.8, stride) for stride in (2, 4, 8)] == [1.0] * 3
    assert keep_prob(0.8, 16) == pytest.approx(0.85)
    assert keep_prob(0.8, 32) == pytest.approx(0.8)
    assert keep_prob(1.0, 32) == 1.0
