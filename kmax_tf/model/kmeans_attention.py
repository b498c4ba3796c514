"""Cross-attention as k-means (paper, section 3.2, equations 4 to 7)."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from kmax_tf.devices import accelerated
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import Affine, DenseBN, affine_of, static_or_dynamic_shape


def assign_pixels(mask_logits: tf.Tensor) -> tf.Tensor:
    """Assigns each pixel to its best cluster center: the argmax in place of a softmax.

    Args:
      mask_logits: [B, H, W, N].

    Returns:
      Index of the center of each pixel, [B, P] int32; no gradient passes. Ties go to the lowest.
    """
    batch, height, width, centers = static_or_dynamic_shape(mask_logits)
    flat = tf.reshape(mask_logits, [batch, height * width, centers])  # [B, P, N]
    return tf.argmax(flat, axis=-1, output_type=tf.int32)


def sum_by_segments(assignment: tf.Tensor, values: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Sums the values of each center's pixels, one pixel after another.

    Args:
      assignment: [B, P] int32 centers.
      values: [B, P, C].
      num_centers: N.

    Returns:
      [B, N, C].
    """
    batch, pixels, channels = static_or_dynamic_shape(values)
    rows = assignment + num_centers * tf.range(batch)[:, tf.newaxis]
    sums = tf.math.unsorted_segment_sum(
        tf.reshape(values, [batch * pixels, channels]),
        tf.reshape(rows, [batch * pixels]),
        batch * num_centers,
    )
    return tf.reshape(sums, [batch, num_centers, channels])


def sum_by_product(assignment: tf.Tensor, values: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Sums as `sum_by_segments` does, by a product with the one-hot assignment [B, P, N]."""
    one_hot = tf.one_hot(assignment, num_centers, dtype=values.dtype)
    return tf.matmul(one_hot, values, transpose_a=True)


def update_centers(assignment: tf.Tensor, values: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Sums the values of each center's pixels (a sum, not a mean), as this machine does it fastest.

    Accelerators multiply matrices faster than they scatter; CPUs don't (benchmarks/kmeans.py).
    Sums are made in float32: thousands of pixels overflow float16, and in bfloat16 a sum stops
    growing at some hundred times what is added.
    """
    values = tf.cast(values, tf.float32)
    return (sum_by_product if accelerated() else sum_by_segments)(assignment, values, num_centers)


class KMeansAttention(keras.layers.Layer):
    """The k-means update of the cluster centers.

    (centers [B, N, C], pixel features [B, H, W, C'], mask logits [B, H, W, N]) -> update
    [B, N, channels], normalized, to be added to the centers. The centers speak through the mask
    logits only, which are their similarities to the pixels.
    """

    def __init__(self, channels: int, batch_norm: BatchNormFactory, name: Optional[str] = None):
        super().__init__(name=name)
        self.value_projection = DenseBN(
            channels,
            batch_norm,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=channels**-0.5),
            name="value_projection",
        )
        self.batch_norm = batch_norm("batch_norm", dtype="float32")
        self.output_projection = DenseBN(
            channels, batch_norm, initial_scale=0.0, name="output_projection"
        )

    def call(
        self,
        centers: tf.Tensor,
        pixel_features: tf.Tensor,
        mask_logits: tf.Tensor,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        """Assigns pixels to centers and sums them."""
        del centers
        batch, height, width, channels = static_or_dynamic_shape(pixel_features)
        pixels = tf.reshape(pixel_features, [batch, height * width, channels])  # [B, P, C]
        values = self.value_projection(pixels, training=training)
        update = update_centers(assign_pixels(mask_logits), values, mask_logits.shape[-1])
        update = self.batch_norm(update, training=training)  # [B, N, C]
        return self.output_projection(update, training=training)

    def fold(self) -> None:
        """Makes the remaining normalization a factor and an offset, for inference."""
        self.batch_norm = Affine(*affine_of(self.batch_norm), name=self.batch_norm.name)
