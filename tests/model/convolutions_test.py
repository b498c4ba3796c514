"""Convolutions against Keras' own: values and gradients, in training and in inference."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model import convolutions
from kmax_tf.model.convolutions import Convolution, DepthwiseConvolution


def compare(layer, plain, shape, training, compile_it=False):
    """Compares outputs, and the gradients by input and weights where it trains."""
    x = tf.random.stateless_normal(shape, seed=[1, 2])
    layer.build(shape), plain.build(shape)
    for i, (ours, theirs) in enumerate(zip(layer.weights, plain.weights)):
        assert (ours.name, ours.shape) == (theirs.name, theirs.shape)
        ours.assign(tf.random.stateless_normal(ours.shape, seed=[3, i]))
        theirs.assign(ours)
    found, expected = (
        tf.function(outputs_and_gradients, jit_compile=compile_it or None)(*case)
        for case in ((layer, x, {"training": training}), (plain, x, {}))
    )
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5 * np.abs(theirs).max())


def outputs_and_gradients(layer, x, options):
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, **options)
        weights = tf.random.stateless_normal(tf.shape(outputs), seed=[5, 6])
        total = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    return outputs, tape.gradient(total, [x, *layer.trainable_variables])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kernel", "dilation", "size"),
    [
        (1, 1, (5, 4)),
        (3, 1, (5, 4)),
        (3, 4, (5, 4)),
        (3, 6, (5, 9)),
        (3, 6, (6, 6)),
        (5, 3, (4, 9)),
    ],
)
def test_convolution_equals_keras(kernel, dilation, size, training):
    """With dilations that reach over the border from some pixels, and from all."""
    options = dict(padding="same", dilation_rate=dilation, name="conv")
    compare(
        Convolution(7, kernel, **options),
        keras.layers.Conv2D(7, kernel, use_bias=False, **options),
        [2, *size, 6],
        training,
    )


@pytest.mark.parametrize("compile_it", [False, True])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, (2, 1)), ((2, 3), (3, 2)), ((4, 1), 2)])
def test_dilated_convolution_of_any_kernel_equals_keras(kernel, dilation, padding, compile_it):
    options = dict(padding=padding, dilation_rate=dilation, name="conv")
    compare(
        Convolution(5, kernel, **options),
        keras.layers.Conv2D(5, kernel, use_bias=False, **options),
        [2, 8, 9, 4],
        training=True,
        compile_it=compile_it,
    )


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dilated_convolution_has_gradients_of_gradients(padding):
    options = dict(padding=padding, dilation_rate=2, name="conv")
    ours = Convolution(5, 3, **options)
    theirs = keras.layers.Conv2D(5, 3, use_bias=False, **options)
    x = tf.random.stateless_normal([2, 8, 6, 4], seed=[1, 2])

    def penalty(layer):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(tf.sin(layer(x)))
            squares = tf.reduce_sum(tf.square(tape.gradient(total, x)))
        return outer.gradient(squares, [x, layer.kernel])

    ours.build(x.shape), theirs.build(x.shape)
    theirs.kernel.assign(ours.kernel)
    for found, expected in zip(penalty(ours), penalty(theirs)):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_dilated_convolution_has_gradients_in_half_precision(dtype, training):
    """Those of float32 to the rounding of sums over 84 pixels, which kernels may do in the type."""
    options = dict(padding="same", dilation_rate=2)
    half, single = Convolution(5, 3, dtype=dtype, **options), Convolution(5, 3, **options)
    x = tf.random.stateless_normal([2, 7, 6, 4], seed=[1, 2])
    x = tf.cast(tf.cast(x, half.compute_dtype), tf.float32)
    for layer in (half, single):
        layer.build(x.shape)
        kernel = tf.random.stateless_normal(layer.kernel.shape, seed=[3, 4])
        layer.kernel.assign(tf.cast(tf.cast(kernel, half.compute_dtype), tf.float32))
    found, expected = (
        outputs_and_gradients(layer, x, {"training": training}) for layer in (half, single)
    )
    rounding = 2.0**-7 if dtype == "mixed_bfloat16" else 2.0**-10
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        error = np.abs(tf.cast(ours, tf.float32) - theirs).max()
        assert error < np.sqrt(84) * rounding * np.abs(theirs).max()


@pytest.mark.parametrize("compile_it", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_strided_convolution_equals_keras(kernel, compile_it):
    options = dict(strides=2, padding="valid", name="conv")
    compare(
        Convolution(7, kernel, **options),
        keras.layers.Conv2D(7, kernel, use_bias=False, **options),
        [2, 9, 7, 6],
        training=True,
        compile_it=compile_it,
    )


@pytest.mark.parametrize("compile_it", [False, True])
@pytest.mark.parametrize(("kernel", "shape"), [(5, [1, 9, 6, 16]), (7, [3, 5, 8, 4])])
@pytest.mark.parametrize("use_bias", [True, False])
def test_depthwise_convolution_equals_keras(kernel, shape, use_bias, compile_it):
    for training in (True, False):
        compare(
            DepthwiseConvolution(kernel, use_bias=use_bias, name="conv"),
            keras.layers.DepthwiseConv2D(kernel, padding="same", use_bias=use_bias, name="conv"),
            shape,
            training,
            compile_it,
        )


def test_the_plain_operations_stay_on_accelerators(monkeypatch):
    """What is for CPUs is in the graph there, and isn't where a GPU or TPU is."""
    pixelwise, depthwise = Convolution(7, 1, padding="same"), DepthwiseConvolution(3)
    dilated = Convolution(4, 3, padding="same", dilation_rate=3)
    for layer in (pixelwise, depthwise):
        layer.build([None, None, None, 6])
    dilated.build([None, None, None, 7])

    def operations() -> set[str]:
        @tf.function
        def train(x):
            return dilated(pixelwise(depthwise(x, training=True), training=True), training=True)

        graph = train.get_concrete_function(tf.TensorSpec([None, 5, 6, 6])).graph
        return {operation.type for operation in graph.get_operations()}

    ours = {"MatMul", "IdentityN"}  # a product, and a gradient of its own
    assert operations() & ours == ours
    monkeypatch.setattr(convolutions, "accelerated", lambda: True)
    assert not operations() & ours


@pytest.mark.parametrize("training", [True, False])
def test_sizes_may_be_unknown(training):
    """Images of any size and number: the same as with sizes known, gradients too."""
    network = keras.Sequential(
        [
            DepthwiseConvolution(5),
            Convolution(3, 3, padding="same", dilation_rate=6),
            Convolution(3, 3, padding="same", dilation_rate=2),
        ]
    )
    x = tf.random.stateless_normal([2, 5, 4, 6], seed=[1, 2])
    known = outputs_and_gradients(network, x, {"training": training})

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 6])])
    def compute(x):
        return outputs_and_gradients(network, x, {"training": training})

    for ours, theirs in zip(tf.nest.flatten(compute(x)), tf.nest.flatten(known)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
