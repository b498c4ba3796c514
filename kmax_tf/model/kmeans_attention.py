"""Cross-attention as k-means (paper, section 3.2, equations 4 to 7)."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import DenseBN, as_affine


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
        """Assigns each pixel to its most similar center, and sums the pixels of each."""
        del centers
        similarity = ops.pixels_of(mask_logits)  # [B, P, N]
        # In place of a softmax: no gradient passes, and ties go to the first center.
        assignment = tf.argmax(similarity, axis=-1, output_type=tf.int32)  # [B, P]
        values = self.value_projection(ops.pixels_of(pixel_features), training=training)
        sums = ops.sum_by_center(values, assignment, similarity.shape[-1])  # [B, N, C], not means
        update = self.batch_norm(sums, training=training)
        return self.output_projection(update, training=training)

    def fold(self) -> None:
        """Makes the remaining normalization a factor and an offset, for inference."""
        self.batch_norm = as_affine(self.batch_norm)
