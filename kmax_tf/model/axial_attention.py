"""Position-sensitive axial attention (Axial-DeepLab, arXiv 2003.07853, section 3.2)."""

from __future__ import annotations

from typing import Optional

import numpy as np
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import Affine, affine_of, as_affine, fold_into


class AxisAttention(keras.layers.Layer):
    """Multi-head self-attention along one axis, with relative positions.

    [n, L, C] -> [n, L, value_channels]. Logits are the normalized sum of content, query-position
    and key-position terms, without the usual 1 / sqrt(d).
    """

    def __init__(
        self,
        key_channels: int,
        value_channels: int,
        num_heads: int,
        max_span: int,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.key_channels = key_channels
        self.value_channels = value_channels
        self.num_heads = num_heads
        self.max_span = max_span
        self.batch_norm_qkv = batch_norm("batch_norm_qkv")
        self.batch_norm_similarity = batch_norm("batch_norm_similarity", axis=(0, 2))
        self.batch_norm_output = batch_norm("batch_norm_output", axis=(0, 2, 4))

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the projection to queries, keys and values and the position tables."""
        channels = input_shape[-1]
        self.qkv_kernel = self.add_weight(
            name="qkv_kernel",
            shape=[channels, 2 * self.key_channels + self.value_channels],
            initializer=keras.initializers.TruncatedNormal(stddev=channels**-0.5),
        )
        self.query_positions = self._position_table("query_positions", self.key_channels)
        self.key_positions = self._position_table("key_positions", self.key_channels)
        self.value_positions = self._position_table("value_positions", self.value_channels)
        super().build(input_shape)

    def _position_table(self, name: str, channels: int) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=[2 * self.max_span - 1, channels // self.num_heads],
            initializer=keras.initializers.TruncatedNormal(stddev=1.0),
        )

    def _relative(self, table: tf.Variable, length: int | tf.Tensor) -> tf.Tensor:
        """Returns [L, L, d]: for (query l, key m) the table's row of the distance m - l."""
        # A constant where the length is known.
        positions = np.arange(length) if isinstance(length, int) else tf.range(length)
        distance = positions[np.newaxis, :] - positions[:, np.newaxis] + self.max_span - 1
        last = 2 * self.max_span - 2
        if isinstance(length, int):
            rows = np.clip(distance, 0, last).astype(np.int32)
        else:
            rows = tf.clip_by_value(distance, 0, last)
        return tf.gather(tf.cast(table, self.compute_dtype), rows)

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Attends over the second axis."""
        n, length, _ = ops.static_or_dynamic_shape(x)
        # With four axes, for which there is the fast kind of normalization.
        kernel = tf.reshape(tf.cast(self.qkv_kernel, x.dtype), [1, 1, *self.qkv_kernel.shape])
        qkv = ops.project_pixels(tf.expand_dims(x, 2), kernel)
        qkv = self.batch_norm_qkv(qkv, training=training)  # [n, L, 1, C]
        widths = [self.key_channels, self.key_channels, self.value_channels]
        query, key, value = (
            tf.reshape(part, [n, length, self.num_heads, width // self.num_heads])
            for part, width in zip(tf.split(qkv, widths, axis=-1), widths)
        )  # [n, L, heads, d]
        similarity = ops.axial_similarities(
            query,
            key,
            self._relative(self.query_positions, length),
            self._relative(self.key_positions, length),
        )
        # With the heads first, the statistics of a head are over what lies together in memory.
        logits = _normalized_sum(similarity, self.batch_norm_similarity, training)
        weights = tf.nn.softmax(tf.cast(logits, tf.float32))  # [1, heads, n * L, L]
        weights = tf.reshape(tf.cast(weights, x.dtype), [self.num_heads, n, length, length])
        positions = self._relative(self.value_positions, length)
        retrieved = ops.axial_values(weights, value, positions)
        output = _normalized_sum(retrieved, self.batch_norm_output, training)
        output = tf.reshape(output, [self.num_heads, n, length, -1])
        output = tf.transpose(output, [1, 2, 0, 3])  # [n, L, heads, d]
        return tf.reshape(output, [n, length, self.value_channels])

    def fold(self) -> None:
        """Folds the normalization of queries, keys and values; makes the others factors."""
        self.batch_norm_qkv = fold_into(self.qkv_kernel, self.batch_norm_qkv)
        # An offset common to all logits of a head does nothing to their softmax.
        scale, _ = affine_of(self.batch_norm_similarity)
        self.batch_norm_similarity = Affine(scale, name=self.batch_norm_similarity.name)
        self.batch_norm_output = as_affine(self.batch_norm_output)


def _normalized_sum(
    terms: list[tf.Tensor], norm: keras.layers.Layer, training: Optional[bool]
) -> tf.Tensor:
    """Normalizes terms [heads, ...] together, each with its own statistics; returns their sum."""
    if not isinstance(norm, Affine):
        stacked = tf.expand_dims(tf.stack(terms), 1)  # [terms, 1, heads, ...]
        return tf.reduce_sum(norm(stacked, training=training), axis=0)
    scales = tf.cast(norm.scale, terms[0].dtype)
    total = tf.add_n([scales[i] * term for i, term in enumerate(terms)])
    if norm.offset is None:
        return total
    return total + tf.reduce_sum(tf.cast(norm.offset, total.dtype), axis=0)


class AxialAttention(keras.layers.Layer):
    """Attention along the height, then along the width.

    [B, H, W, C] -> [B, H / stride, W / stride, 2 * filters]: rows are subsampled after the first
    pass, columns after the second.
    """

    def __init__(
        self,
        filters: int,
        batch_norm: BatchNormFactory,
        num_heads: int,
        max_span: int,
        stride: int = 1,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.stride = stride
        self.height_axis, self.width_axis = (
            AxisAttention(filters, 2 * filters, num_heads, max_span, batch_norm, name=axis)
            for axis in ("height_axis", "width_axis")
        )

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Attends along both axes."""
        x = self._attend(self.height_axis, tf.transpose(x, [0, 2, 1, 3]), training)
        x = self._attend(self.width_axis, tf.transpose(x, [0, 2, 1, 3]), training)
        return x

    def _attend(self, layer: AxisAttention, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Attends over the third axis of [B, other, L, C] and subsamples it."""
        batch, other, length, channels = ops.static_or_dynamic_shape(x)
        x = layer(tf.reshape(x, [batch * other, length, channels]), training=training)
        x = tf.reshape(x, [batch, other, length, layer.value_channels])
        return x if self.stride == 1 else x[:, :, :: self.stride]
