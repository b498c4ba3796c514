"""Axial attention against pair-by-pair loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.axial_attention import AxialAttention, AxisAttention
from kmax_tf.model.batch_norm import BatchNormFactory
from tests.model.weights import array, close, norm_of, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)


def weights_of(layer):
    names = ("qkv_kernel", "query_positions", "key_positions", "value_positions")
    weights = {name: array(getattr(layer, name)) for name in names}
    weights["qkv"] = norm_of(layer.batch_norm_qkv)
    heads, depth = layer.num_heads, layer.value_channels // layer.num_heads
    for name, shape in (("similarity", (3, heads)), ("output", (2, heads, depth))):
        norm = norm_of(getattr(layer, f"batch_norm_{name}"))
        weights[name] = [part.reshape(shape) for part in norm]
    return weights


# Spans shorter than the axis: positions farther away share the outermost rows.
@pytest.mark.parametrize(("length", "max_span"), [(5, 5), (5, 9), (6, 3), (1, 4)])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_one_axis_equals_the_oracle(length, max_span, heads):
    x = random(2, length, 3)
    layer = randomized(AxisAttention(4, 8, heads, max_span, NORM), x)
    close(layer(x), oracle.axis_attention(x, weights_of(layer), heads, max_span))


@pytest.mark.parametrize("stride", [1, 2])
def test_height_comes_before_width_and_each_is_subsampled_after_its_pass(stride):
    x = random(2, 5, 3, 3)
    layer = randomized(AxialAttention(4, NORM, num_heads=2, max_span=5, stride=stride), x)
    height, width = weights_of(layer.height_axis), weights_of(layer.width_axis)
    columns = [oracle.axis_attention(x[:, :, column], height, 2, 5) for column in range(3)]
    tall = np.stack(columns, axis=2)[:, ::stride]
    rows = [oracle.axis_attention(tall[:, row], width, 2, 5) for row in range(tall.shape[1])]
    expected = np.stack(rows, axis=1)[:, :, ::stride]
    close(layer(x), expected)


def test_sees_the_whole_axis_and_nothing_else():
    """A pixel reaches its row and column in one axis' pass, all pixels in both."""
    x = tf.constant(random(1, 4, 5, 3))
    layer = randomized(AxialAttention(4, NORM, num_heads=2, max_span=9), x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        corner = tf.reduce_sum(layer(x)[:, 0, 0])
    assert (np.abs(tape.gradient(corner, x)).max(-1) > 0).all()
    sequence = tf.constant(random(2, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(sequence)
        first = tf.reduce_sum(layer.height_axis(sequence)[0, 0])
    reached = np.abs(tape.gradient(first, sequence)).max(-1) > 0
    np.testing.assert_array_equal(reached, [[True] * 4, [False] * 4])
