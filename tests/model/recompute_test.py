"""Recomputed blocks train as others do: same gradients, statistics taken up once, same drops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.convnext import ConvNeXtBlock, ConvNeXtStage
from kmax_tf.model.batch_norm import BatchNorm, BatchNormFactory
from kmax_tf.model.layers import DropPath
from kmax_tf.model.recompute import call_block
from kmax_tf.model.residual import ResidualStage
from tests.model.weights import random, randomized
from tests.options import block_options, with_defaults


def stage(kind: str, recompute_blocks: bool) -> keras.layers.Layer:
    if kind == "convnext":
        layer = ConvNeXtStage([ConvNeXtBlock(8, 1.0, 1.0) for _ in range(2)], recompute_blocks)
    else:
        options = block_options(2, ops.gelu, axial=kind == "axial", num_heads=2, max_span=8)
        norm = with_defaults(BatchNormFactory)
        layer = ResidualStage([options] * 2, norm, stride=2, recompute_blocks=recompute_blocks)
    return randomized(layer, tf.zeros([2, 5, 5, 8]))


@pytest.mark.parametrize("kind", ["bottleneck", "axial", "convnext"])
@pytest.mark.parametrize("mode", ["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_gradients_and_statistics_are_the_same(kind: str, mode: str) -> None:
    x = random(2, 5, 5, 8)
    results = []
    for recompute in (False, True):
        layer = stage(kind, recompute)

        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(y**3)
            return [y, *tape.gradient(loss, [x, *layer.trainable_variables])]

        run = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
        values = run(tf.constant(x))
        results.append([tf.convert_to_tensor(v).numpy() for v in [*values, *layer.variables]])
    names = ["output", "input", *(v.name for v in layer.trainable_variables)]
    assert len(results[0]) == len(results[1])
    # XLA fuses the two differently, so that sums round otherwise: where a gradient is zero but for
    # rounding, as that of an offset before a softmax, what is left is compared with the largest.
    least_scale = max(np.abs(plain).max() for plain in results[0]) if mode == "xla" else 1.0
    tolerance = 4e-6 if mode == "xla" else 1e-6
    for index, (plain, recomputed) in enumerate(zip(*results)):
        scale = max(np.abs(plain).max(), least_scale)
        name = names[index] if index < len(names) else "variable"
        np.testing.assert_allclose(recomputed / scale, plain / scale, atol=tolerance, err_msg=name)


def test_statistics_are_taken_up_once() -> None:
    norm = BatchNorm(name="norm", momentum=0.5)
    x = tf.constant(random(8, 3, 3, 2)) + 3.0
    norm(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(call_block(norm, x, True, recompute=True) ** 3)
    tape.gradient(y, x)
    np.testing.assert_allclose(norm.moving_mean, 0.5 * np.mean(x, (0, 1, 2)), rtol=1e-5)
    assert norm.momentum == 0.5


@pytest.mark.parametrize("in_graph", [False, True])
def test_what_is_dropped_is_dropped_again(in_graph: bool) -> None:
    """The gradient of a dropped example is zero, and of a kept one it isn't."""
    drop = DropPath(0.5)

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = call_block(drop, x, True, recompute=True)
        return y, tape.gradient(y, x)

    run = tf.function(step) if in_graph else step
    masks = []
    for _ in range(3):
        y, gradient = run(tf.ones([32, 3]))
        np.testing.assert_array_equal(y, gradient)
        masks.append(y.numpy()[:, 0])
    assert 0 < np.mean(masks[0] == 0) < 1
    assert not np.array_equal(masks[0], masks[1])  # another step, other examples


def test_drops_of_two_layers_in_a_block_differ() -> None:
    layers = [DropPath(0.5), DropPath(0.5)]

    class Both(keras.layers.Layer):
        def call(self, x, training=None):
            return tf.concat([layer(x, training=training) for layer in layers], axis=1)

    y = call_block(Both(), tf.ones([64, 1]), True, recompute=True).numpy()
    assert not np.array_equal(y[:, 0], y[:, 1])
