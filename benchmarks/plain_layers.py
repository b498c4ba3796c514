"""Layers as their descriptions read, and as Keras has them: for the plain step of train_step.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from axial import EinsumAttention

from kmax_tf.keras_api import keras
from kmax_tf.model import axial_attention, kmeans_attention, layers


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Builds and traces with Keras' dilated convolutions, einsums, and one-hot assignments.

    The weights and their names are those of the project's own layers.
    """
    with (
        mock.patch.object(layers, "Convolution", keras.layers.Conv2D),
        mock.patch.object(axial_attention, "AxisAttention", EinsumAttention),
        mock.patch.object(kmeans_attention, "sum_by_segments", kmeans_attention.sum_by_product),
    ):
        yield
