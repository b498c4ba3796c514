"""Keras' layers of convolutions and of pixels, computed by `ops`: the same weights and names."""

from __future__ import annotations

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras


class Convolution(keras.layers.Conv2D):
    """A convolution, without bias unless it is asked for. [B, H, W, C] -> [B, H', W', filters]."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        use_bias: bool = False,
        **kwargs: object,
    ):
        super().__init__(filters, kernel_size, strides, use_bias=use_bias, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves."""
        kernel = tf.convert_to_tensor(self.kernel)
        outputs = ops.convolve(
            inputs, kernel, self.strides, self.padding.upper(), self.dilation_rate
        )
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


class DenseGelu(keras.layers.Dense):
    """A dense layer of each pixel, then GELU. [B, H, W, C] -> [B, H, W, units]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Projects and activates."""
        kernel, bias = (tf.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
        return ops.project_to_gelu(inputs, kernel, bias)


class DepthwiseConvolution(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of stride 1. [B, H, W, C] -> the same."""

    def __init__(self, kernel_size: int, use_bias: bool = True, **kwargs: object):
        super().__init__(kernel_size, padding="same", use_bias=use_bias, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves."""
        outputs = ops.convolve_depthwise(inputs, tf.convert_to_tensor(self.depthwise_kernel))
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs
