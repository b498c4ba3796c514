"""Depthwise convolution: each channel with a kernel of its own."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from kmax_tf.ops.choice import choose


def convolve_depthwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves with stride 1 and zeros around. [B, H, W, C], [h, w, C, 1] -> [B, H, W, C]."""
    return choose(_definition, for_gradients_on_cpus=_with_gradient)(x, kernel)


def _definition(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


@tf.custom_gradient
def _with_gradient(
    x: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Convolves, with a quicker gradient.

    The kernel's gradient is the correlation of input and upstream gradient, so it is a depthwise
    convolution of the one with the other. As such it takes a fifth of the time of the operation
    that is meant for it.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x),
            filter=kernel,
            out_backprop=upstream,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        height, width, channels, _ = kernel.shape
        around = [[(taps - 1) // 2, taps // 2] for taps in (height, width)]
        padded = tf.pad(x, [[0, 0], *around, [0, 0]])
        correlation = tf.nn.depthwise_conv2d(
            _examples_as_channels(padded)[tf.newaxis],
            _examples_as_channels(upstream)[..., tf.newaxis],
            [1, 1, 1, 1],
            "VALID",
        )  # [1, h, w, B * C]
        of_examples = tf.reshape(correlation, [height, width, -1, channels])
        return of_x, tf.reduce_sum(of_examples, axis=2)[..., tf.newaxis]

    return _definition(x, kernel), gradient


def _examples_as_channels(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [H, W, B * C]."""
    _, height, width, _ = tf.unstack(tf.shape(x))
    return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [height, width, -1])
