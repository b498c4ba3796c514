"""ResNet: strides, widths, what is activated, drop path."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.backbones.resnet import ResNet, ThreeConvStem, keep_prob
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import ConvBN
from tests.model.weights import array, norm_of, random, randomize
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)


def stages(activation=tf.nn.relu):
    return [
        [block_options(filters, activation)] * blocks
        for filters, blocks in zip([2, 3, 4, 5], [1, 2, 3, 2])
    ]


def small(stem=None, **options):
    stem = stem or ConvBN(3, NORM, kernel_size=7, stride=2, name="stem")
    return with_defaults(ResNet, stem=stem, stages=stages(), batch_norm=NORM, **options)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (65, 97), (129, 33)])
@pytest.mark.parametrize("max_pool", [False, True])
def test_features_of_every_stride(height, width, max_pool):
    features = small(max_pool=max_pool)(random(2, height, width, 3))
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
    backbone = small(max_pool=max_pool)
    x = random(2, 33, 65, 3)
    backbone(x)
    randomize(backbone)
    expected = backbone.stem(x)
    features = backbone(x)
    np.testing.assert_allclose(features[2], expected, rtol=1e-5)
    if max_pool:
        expected = max_of_three_by_three(expected.numpy())
    for stride, stage in zip((4, 8, 16, 32), backbone.stages):
        expected = stage(expected)
        np.testing.assert_allclose(features[stride], expected, rtol=1e-4, atol=1e-4)


def test_with_a_max_pool_the_first_stage_keeps_the_resolution():
    """A 3x3 pool of stride 2; its blocks' shortcut is a projection all the same."""
    with_pool, without = small(max_pool=True), small()
    for backbone, strides in ((with_pool, [1, 2, 2, 2]), (without, [2, 2, 2, 2])):
        backbone(random(1, 33, 33, 3))
        assert [stage.blocks[0].stride for stage in backbone.stages] == strides
    names = [[v.name.split("/", 1)[1] for v in b.variables] for b in (with_pool, without)]
    assert names[0] == names[1]


def test_rectifying_before_or_after_the_maximum_is_the_same():
    """The public implementation rectifies the stem; here the block behind the pool does."""
    x = random(2, 9, 5, 3)
    pool = small(max_pool=True).max_pool
    np.testing.assert_array_equal(tf.nn.relu(pool(x)), pool(tf.nn.relu(x)))


@pytest.mark.parametrize(("name", "activation"), [("relu", tf.nn.relu), ("gelu", ops.gelu)])
def test_three_conv_stem_equals_the_oracle(name, activation):
    stem = ThreeConvStem(4, activation, NORM)
    x = random(2, 9, 5, 3)
    stem(x)
    randomize(stem)

    def conv_bn(layer, y, stride=1):
        return oracle.normalize(
            oracle.convolve(y, array(layer.conv.kernel), stride), norm_of(layer.batch_norm)
        )

    act = getattr(oracle, name)
    expected = act(conv_bn(stem.conv1, x.astype(np.float64), stride=2))
    expected = conv_bn(stem.conv3, act(conv_bn(stem.conv2, expected)))
    assert expected.shape == (2, 5, 3, 8)
    np.testing.assert_allclose(stem(x), expected, rtol=1e-4, atol=1e-5)


def test_three_conv_stem_takes_the_place_of_the_usual_one():
    backbone = small(ThreeConvStem(4, ops.gelu, NORM, name="stem"))
    features = backbone(random(2, 65, 33, 3))
    assert features[2].shape == [2, 33, 17, 8]
    assert features[4].shape == [2, 17, 9, 8]


def test_axial_blocks_subsample_too():
    """As in the last stage of MaX-S; its stride comes from the attention."""
    axial = block_options(4, ops.gelu, axial=True, num_heads=2, max_span=9)
    mixed = [
        [block_options(2, ops.gelu)],
        [block_options(2, ops.gelu)],
        [block_options(2, ops.gelu), axial],
    ]
    backbone = with_defaults(
        ResNet,
        stem=ConvBN(3, NORM, 7, 2, name="stem"),
        stages=[*mixed, [axial, axial]],
        batch_norm=NORM,
    )
    features = backbone(random(2, 65, 33, 3))
    assert features[16].shape == [2, 5, 3, 16]
    assert features[32].shape == [2, 3, 2, 16]


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
