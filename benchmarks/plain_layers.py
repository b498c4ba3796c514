"""Layers as their descriptions read, and as Keras has them: for the plain step of train_step.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import tensorflow as tf
from axial import EinsumAttention

from kmax_tf.keras_api import keras
from kmax_tf.model import (
    axial_attention,
    heads,
    kmeans_attention,
    layers,
    pixel_decoder,
    semantic_branch,
)


class PlainConvolution(keras.layers.Conv2D):
    """A convolution, as Keras does it."""

    def __init__(self, *args, use_bias=False, **kwargs):
        super().__init__(*args, use_bias=use_bias, **kwargs)

    def call(self, inputs, training=None):
        """Convolves."""
        return super().call(inputs)


class PlainDepthwiseConvolution(keras.layers.DepthwiseConv2D):
    """A depthwise convolution, as Keras does it."""

    def __init__(self, kernel_size, **kwargs):
        super().__init__(kernel_size, padding="same", **kwargs)

    def call(self, inputs, training=None):
        """Convolves."""
        return super().call(inputs)


class PlainLayerNorm(keras.layers.LayerNormalization):
    """A layer normalization, as Keras does it."""

    def __init__(self, name=None):
        super().__init__(epsilon=1e-6, name=name)

    def call(self, inputs, training=None):
        """Normalizes."""
        return super().call(inputs)


def plain_pixels(x, kernel, training):
    """Projects pixels as a convolution."""
    return tf.nn.conv2d(x, kernel, strides=1, padding="VALID")


def plain_dense(self, x, training=None):
    """Normalizes what a dense layer makes as it is, with three axes."""
    x = self.batch_norm(self.dense(x), training=training)
    return x if self.activation is None else self.activation(x)


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Builds and traces with Keras' convolutions, einsums, and one-hot assignments.

    The weights and their names are those of the project's own layers.
    """
    with (
        mock.patch.object(layers, "Convolution", PlainConvolution),
        mock.patch.object(heads, "Convolution", PlainConvolution),
        mock.patch.object(semantic_branch, "Convolution", PlainConvolution),
        mock.patch.object(layers, "DepthwiseConvolution", PlainDepthwiseConvolution),
        mock.patch.object(layers, "_gelu_with_gradient", layers.gelu),
        mock.patch.object(layers.DenseBN, "call", plain_dense),
        mock.patch.object(pixel_decoder, "LayerNorm", PlainLayerNorm),
        mock.patch.object(axial_attention, "AxisAttention", EinsumAttention),
        mock.patch.object(axial_attention, "convolve_pixels", plain_pixels),
        mock.patch.object(kmeans_attention, "sum_by_segments", kmeans_attention.sum_by_product),
    ):
        yield
