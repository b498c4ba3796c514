"""ResNet: its stem against the oracle, its parts in order, strides, drop path."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.backbones.resnet import ResNet, ThreeConvStem
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import ConvBN
from tests.model.oracles import conv_bn
from tests.model.weights import close, random, randomized
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)


def small(**options):
    stem = ConvBN(3, NORM, kernel_size=7, stride=2, name="stem")
    stages = [
        [block_options(filters, tf.nn.relu)] * blocks
        for filters, blocks in zip([2, 3, 4, 5], [1, 2, 3, 2])
    ]
    return with_defaults(ResNet, stem=stem, stages=stages, batch_norm=NORM, **options)


def max_of_three_by_three(x):
    """Of stride 2, the windows around even rows and columns."""
    height, width = ((side - 1) // 2 + 1 for side in x.shape[1:3])
    return np.stack(
        [
            [
                x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max((1, 2))
                for j in range(width)
            ]
            for i in range(height)
        ]
    ).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("max_pool", [False, True])
def test_equals_its_parts_in_order(max_pool):
    x = random(2, 33, 65, 3)
    backbone = randomized(small(max_pool=max_pool), x)
    expected = backbone.stem(x)
    features = backbone(x)
    assert list(features) == [2, 4, 8, 16, 32]
    close(features[2], expected, 1e-5)
    if max_pool:
        expected = max_of_three_by_three(expected.numpy())
    for stride, stage in zip((4, 8, 16, 32), backbone.stages):
        expected = stage(expected)
        assert expected.shape[1:3] == (32 // stride + 1, 64 // stride + 1)
        np.testing.assert_allclose(features[stride], expected, rtol=1e-4, atol=1e-4)


def test_with_a_max_pool_the_first_stage_keeps_the_resolution():
    """Its blocks' shortcut is a projection all the same."""
    with_pool, without = (
        randomized(small(max_pool=p), random(1, 33, 33, 3)) for p in (True, False)
    )
    assert [stage.blocks[0].stride for stage in with_pool.stages] == [1, 2, 2, 2]
    names = [[v.name.split("/", 1)[1] for v in b.variables] for b in (with_pool, without)]
    assert names[0] == names[1]


@pytest.mark.parametrize(("name", "activation"), [("relu", tf.nn.relu), ("gelu", ops.gelu)])
def test_three_conv_stem_equals_the_oracle(name, activation):
    x = random(2, 9, 5, 3)
    stem = randomized(ThreeConvStem(4, activation, NORM), x)
    act = getattr(oracle, name)
    expected = conv_bn(stem.conv2, conv_bn(stem.conv1, x, act, stride=2), act)
    expected = conv_bn(stem.conv3, expected)
    assert expected.shape == (2, 5, 3, 8)
    close(stem(x), expected)


def test_drop_path_follows_the_stride_of_the_blocks_input():
    backbone = small(drop_path_keep_prob=0.8)
    probs = [[b.drop_path.keep_prob for b in stage.blocks] for stage in backbone.stages]
    expected = [[1.0], [1.0, 1.0], [1.0, 0.85, 0.85], [0.85, 0.8]]
    assert probs == [pytest.approx(row) for row in expected]
