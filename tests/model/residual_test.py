"""Residual blocks against their oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.residual import ResidualBlock, ResidualStage
from tests.model.weights import array, norm_of, random, randomize
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
ACTIVATIONS = {"relu": (tf.nn.relu, oracle.relu), "gelu": (ops.gelu, oracle.gelu)}


def conv_bn(layer, x, stride=1, dilation=1):
    y = oracle.convolve(x, array(layer.conv.kernel), stride, dilation)
    return oracle.normalize(y, norm_of(layer.batch_norm))


def residual_block(block, x, act, middle):
    x = act(x)
    shortcut = x if block.shortcut is None else conv_bn(block.shortcut, x, block.stride)
    y = act(conv_bn(block.conv1, x))
    return conv_bn(block.conv3, act(middle(y))) + shortcut


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("stride", "dilation", "channels"), [(1, 1, 8), (1, 2, 8), (1, 1, 5), (2, 1, 8)]
)
def test_bottleneck_equals_the_oracle(activation, stride, dilation, channels):
    ours, theirs = ACTIVATIONS[activation]
    block = ResidualBlock(block_options(2, ours, dilation=dilation), NORM, stride)
    x = random(2, 5, 7, channels)
    block(x)
    randomize(block)
    expected = residual_block(
        block, x.astype(np.float64), theirs, lambda y: conv_bn(block.conv2, y, stride, dilation)
    )
    np.testing.assert_allclose(block(x), expected, rtol=1e-3, atol=1e-4)
    assert (block.shortcut is None) == (stride == 1 and channels == 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_axial_block_equals_the_oracle_around_its_attention(stride):
    """The attention itself has its own test."""
    options = block_options(2, ops.gelu, axial=True, num_heads=2, max_span=4)
    block = ResidualBlock(options, NORM, stride)
    x = random(2, 5, 7, 8)
    block(x)
    randomize(block)
    expected = residual_block(
        block,
        x.astype(np.float64),
        oracle.gelu,
        lambda y: block.attention(y.astype(np.float32)).numpy().astype(np.float64),
    )
    np.testing.assert_allclose(block(x), expected, rtol=1e-3, atol=1e-4)
    assert block.conv1.conv.filters == 4  # twice the width
    assert block.attention.height_axis.key_channels == 2
    assert block.attention.height_axis.value_channels == 4


def test_a_fresh_block_is_its_activated_input():
    block = ResidualBlock(block_options(2, tf.nn.relu), NORM)
    x = random(2, 5, 3, 8)
    np.testing.assert_array_equal(block(x, training=True), np.maximum(x, 0.0))


def test_drop_path_is_on_the_branch_only():
    block = ResidualBlock(block_options(2, tf.nn.relu), NORM, drop_path_keep_prob=1e-9)
    x = random(2, 5, 3, 8)
    block(x)
    randomize(block)
    np.testing.assert_array_equal(block(x, training=True), np.maximum(x, 0.0))


def test_stage_subsamples_in_its_first_block():
    stage = ResidualStage(
        [block_options(2, ops.gelu)] * 3, NORM, stride=2, drop_path_keep_probs=0.9
    )
    x = random(1, 9, 5, 3)
    assert stage(x).shape == [1, 5, 3, 8]
    assert [block.stride for block in stage.blocks] == [2, 1, 1]
    assert [block.drop_path.keep_prob for block in stage.blocks] == [0.9] * 3
    randomize(stage)
    y = x
    for block in stage.blocks:
        y = block(y)
    np.testing.assert_allclose(stage(x), y, rtol=1e-5)
