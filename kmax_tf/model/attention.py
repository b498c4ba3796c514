"""Multi-head attention among cluster centers, and from centers to pixels with a softmax.

Batch normalization of the logits, per head, stands in for the usual scaling.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import Affine, DenseBN, affine_of, as_affine


@dataclasses.dataclass(frozen=True)
class AttentionOptions:
    """Sizes of an attention.

    Attributes:
      channels: width of the centers and of the update.
      key_channels: of queries and of keys, over all heads.
      value_channels: over all heads.
      num_heads: divides both.
    """

    channels: int
    key_channels: int
    value_channels: int
    num_heads: int


class Attention(keras.layers.Layer):
    """What the attentions below share: from queries, keys and values to an update."""

    def __init__(
        self, options: AttentionOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(name=name)
        self.options = options
        self.batch_norm_similarity = batch_norm("batch_norm_similarity", axis=1)
        self.batch_norm_value = batch_norm("batch_norm_value", axis=(1, 3))
        self.output_projection = DenseBN(
            options.channels, batch_norm, initial_scale=0.0, name="output_projection"
        )

    def projection(self, width: int, batch_norm: BatchNormFactory, name: str) -> DenseBN:
        """Makes a projection of the inputs."""
        initializer = keras.initializers.TruncatedNormal(stddev=self.options.channels**-0.5)
        return DenseBN(width, batch_norm, kernel_initializer=initializer, name=name)

    def attend(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, training: Optional[bool]
    ) -> tf.Tensor:
        """Retrieves values. [B, N, K], [B, L, K], [B, L, V] -> [B, N, channels]."""
        query, key, value = map(self._heads, (query, key, value))  # [B, heads, N or L, d]
        similarity = tf.matmul(query, key, transpose_b=True)  # [B, heads, N, L]
        similarity = self.batch_norm_similarity(similarity, training=training)
        weights = tf.nn.softmax(tf.cast(similarity, tf.float32))
        retrieved = tf.matmul(tf.cast(weights, value.dtype), value)  # [B, heads, N, d]
        retrieved = self.batch_norm_value(retrieved, training=training)
        retrieved = ops.gelu(retrieved)
        batch, _, count, _ = ops.static_or_dynamic_shape(retrieved)
        retrieved = tf.transpose(retrieved, [0, 2, 1, 3])  # [B, N, heads, d]
        retrieved = tf.reshape(retrieved, [batch, count, self.options.value_channels])
        return self.output_projection(retrieved, training=training)

    def _heads(self, x: tf.Tensor) -> tf.Tensor:
        """Returns [B, heads, L, C / heads] of [B, L, C]."""
        batch, length, channels = ops.static_or_dynamic_shape(x)
        heads = self.options.num_heads
        split = tf.reshape(x, [batch, length, heads, channels // heads])
        return tf.transpose(split, [0, 2, 1, 3])

    def fold(self) -> None:
        """Makes the remaining normalizations factors and offsets, for inference."""
        scale, _ = affine_of(self.batch_norm_similarity)
        # An offset common to all logits of a head does nothing to their softmax.
        self.batch_norm_similarity = Affine(
            scale[:, np.newaxis, np.newaxis], name=self.batch_norm_similarity.name
        )
        self.batch_norm_value = as_affine(self.batch_norm_value)


class SelfAttention(Attention):
    """Self-attention among cluster centers. [B, N, C] -> update [B, N, channels]."""

    def __init__(
        self, options: AttentionOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(options, batch_norm, name)
        self.qkv_projection = self.projection(
            2 * options.key_channels + options.value_channels, batch_norm, "qkv_projection"
        )

    def call(self, centers: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Lets the centers look at each other."""
        qkv = self.qkv_projection(centers, training=training)
        keys, values = self.options.key_channels, self.options.value_channels
        query, key, value = tf.split(qkv, [keys, keys, values], axis=-1)
        return self.attend(query, key, value, training=training)


class SoftmaxAttention(Attention):
    """The update of the centers as transformers do it elsewhere: what k-means is compared with.

    (centers [B, N, C], pixel features [B, H, W, C'], mask logits [B, H, W, N]) -> update
    [B, N, channels], to be added to the centers. Each center takes a mean over all pixels, with
    weights of its own: the mask logits play no part.
    """

    def __init__(
        self, options: AttentionOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(options, batch_norm, name)
        self.query_projection = self.projection(
            options.key_channels, batch_norm, "query_projection"
        )
        self.key_value_projection = self.projection(
            options.key_channels + options.value_channels, batch_norm, "key_value_projection"
        )

    def call(
        self,
        centers: tf.Tensor,
        pixel_features: tf.Tensor,
        mask_logits: tf.Tensor,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        """Lets the centers look at the pixels."""
        del mask_logits
        pixels = ops.pixels_of(pixel_features)  # [B, P, C']
        key_value = self.key_value_projection(pixels, training=training)
        widths = [self.options.key_channels, self.options.value_channels]
        key, value = tf.split(key_value, widths, axis=-1)
        query = self.query_projection(centers, training=training)
        return self.attend(query, key, value, training=training)
