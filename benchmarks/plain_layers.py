"""Layers as their descriptions read, and as Keras has them: for the plain step of train_step.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import tensorflow as tf
from axial import EinsumAttention

from kmax_tf.keras_api import keras
from kmax_tf.model import axial_attention, kmeans_attention, layers


class PlainConvolution(keras.layers.Conv2D):
    """A convolution without bias, as Keras does it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, use_bias=False, **kwargs)

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


def plain_pixels(x, kernel, training):
    """Projects pixels as a convolution."""
    return tf.nn.conv2d(x, kernel, strides=1, padding="VALID")


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Builds and traces with Keras' convolutions, einsums, and one-hot assignments.

    The weights and their names are those of the project's own layers.
    """
    with (
        mock.patch.object(layers, "Convolution", PlainConvolution),
        mock.patch.object(layers, "DepthwiseConvolution", PlainDepthwiseConvolution),
        mock.patch.object(axial_attention, "AxisAttention", EinsumAttention),
        mock.patch.object(axial_attention, "convolve_pixels", plain_pixels),
        mock.patch.object(kmeans_attention, "sum_by_segments", kmeans_attention.sum_by_product),
    ):
        yield
