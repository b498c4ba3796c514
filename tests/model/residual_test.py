"""Residual blocks against their oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.residual import ResidualBlock, ResidualStage
from tests.model.oracles import conv_bn
from tests.model.weights import close, random, randomized
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
ACTIVATIONS = {"relu": (tf.nn.relu, oracle.relu), "gelu": (ops.gelu, oracle.gelu)}


def residual_block(block, x, act, middle):
    x = act(x)
    shortcut = x if block.shortcut is None else conv_bn(block.shortcut, x, stride=block.stride)
    return conv_bn(block.conv3, act(middle(conv_bn(block.conv1, x, act)))) + shortcut


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("stride", "dilation", "channels"), [(1, 1, 8), (1, 2, 8), (1, 1, 5), (2, 1, 8)]
)
def test_bottleneck_equals_the_oracle(activation, stride, dilation, channels):
    ours, theirs = ACTIVATIONS[activation]
    x = random(2, 5, 7, channels)
    block = randomized(ResidualBlock(block_options(2, ours, dilation=dilation), NORM, stride), x)
    expected = residual_block(
        block, x, theirs, lambda y: conv_bn(block.conv2, y, stride=stride, dilation=dilation)
    )
    close(block(x), expected, 1e-3)
    assert (block.shortcut is None) == (stride == 1 and channels == 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_axial_block_equals_the_oracle_around_its_attention(stride):
    """The attention itself has its own test."""
    options = block_options(2, ops.gelu, axial=True, num_heads=2, max_span=4)
    x = random(2, 5, 7, 8)
    block = randomized(ResidualBlock(options, NORM, stride), x)
    expected = residual_block(
        block, x, oracle.gelu, lambda y: block.attention(y.astype(np.float32)).numpy()
    )
    close(block(x), expected, 1e-3)
    assert block.conv1.conv.filters == 4  # twice the width
    assert block.attention.height_axis.key_channels == 2
    assert block.attention.height_axis.value_channels == 4


def test_a_fresh_block_is_its_activated_input():
    block = ResidualBlock(block_options(2, tf.nn.relu), NORM)
    x = random(2, 5, 3, 8)
    np.testing.assert_array_equal(block(x, training=True), np.maximum(x, 0.0))


def test_drop_path_is_on_the_branch_only():
    x = random(2, 5, 3, 8)
    block = ResidualBlock(block_options(2, tf.nn.relu), NORM, drop_path_keep_prob=1e-9)
    randomized(block, x)
    np.testing.assert_array_equal(block(x, training=True), np.maximum(x, 0.0))


def test_stage_subsamples_in_its_first_block():
    options = [block_options(2, ops.gelu)] * 3
    x = random(1, 9, 5, 3)
    keep_probs = [0.9, 0.8, 0.7]
    stage = ResidualStage(options, NORM, stride=2, drop_path_keep_probs=keep_probs)
    randomized(stage, x)
    assert [block.stride for block in stage.blocks] == [2, 1, 1]
    assert [block.drop_path.keep_prob for block in stage.blocks] == keep_probs
    y = x
    for block in stage.blocks:
        y = block(y)
    close(stage(x), y, 1e-5)
