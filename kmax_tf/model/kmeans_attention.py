"""Cross-attention as k-means (paper, section 3.2, equations 4 to 7)."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.layers import BatchNormFactory, DenseBN, static_or_dynamic_shape


def assign_pixels(mask_logits: tf.Tensor) -> tf.Tensor:
    """Assigns each pixel to its best cluster center: the argmax in place of a softmax.

    Args:
      mask_logits: [B, H, W, N].

    Returns:
      Cluster assignment [B, P, N], one-hot, of the logits' dtype; no gradient passes. Ties go to
      the lowest center.
    """
    batch, height, width, centers = static_or_dynamic_shape(mask_logits)
    flat = tf.reshape(mask_logits, [batch, height * width, centers])  # [B, P, N]
    assignment = tf.one_hot(tf.argmax(flat, axis=-1), centers, dtype=mask_logits.dtype)
    return tf.stop_gradient(assignment)


def update_centers(assignment: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Sums the values of each center's pixels: a sum, not a mean.

    Args:
      assignment: [B, P, N].
      values: [B, P, C].

    Returns:
      [B, N, C].
    """
    return tf.matmul(tf.cast(assignment, values.dtype), values, transpose_a=True)


class KMeansAttention(keras.layers.Layer):
    """The k-means update of the cluster centers.

    (mask logits [B, H, W, N], pixel features [B, H, W, C]) -> update [B, N, channels], normalized,
    to be added to the centers.
    """

    def __init__(self, channels: int, batch_norm: BatchNormFactory, name: Optional[str] = None):
        super().__init__(name=name)
        self.value_projection = DenseBN(
            channels,
            batch_norm,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=channels**-0.5),
            name="value_projection",
        )
        self.batch_norm = batch_norm("batch_norm")
        self.output_projection = DenseBN(
            channels, batch_norm, initial_scale=0.0, name="output_projection"
        )

    def call(
        self, mask_logits: tf.Tensor, pixel_features: tf.Tensor, training: Optional[bool] = None
    ) -> tf.Tensor:
        """Assigns pixels to centers and sums them."""
        batch, height, width, channels = static_or_dynamic_shape(pixel_features)
        pixels = tf.reshape(pixel_features, [batch, height * width, channels])  # [B, P, C]
        values = self.value_projection(pixels, training=training)
        update = update_centers(assign_pixels(mask_logits), values)
        update = self.batch_norm(update, training=training)
        return self.output_projection(update, training=training)
