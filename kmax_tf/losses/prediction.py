"""A prediction as the terms of the loss read it."""

from __future__ import annotations

import functools

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.truth import Truth
from kmax_tf.ops.resizing import resize_bilinear
from kmax_tf.structures import Predictions


class Prediction:
    """The final prediction or that of a kMaX block.

    Attributes:
      truth: what it is compared with.
      outputs: as predicted, by the names of `structures.Predictions`.
    """

    def __init__(self, outputs: Predictions, truth: Truth):
        self.outputs = outputs
        self.truth = truth

    @functools.cached_property
    def pixel_entropy_and_mask_sizes(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `pixel_entropy_and_mask_sizes` of its masks: two terms read it."""
        masks = resize_bilinear(self.outputs["mask_logits"], self.truth.size)
        return pixel_entropy_and_mask_sizes(
            ops.pixels_of(masks),
            self.truth.segments,
            self.truth.matching.center_of_segment,
            self.truth.spread,
        )


def pixel_entropy_and_mask_sizes(
    mask_logits: tf.Tensor,
    segments: tf.Tensor,
    center_of_segment: tf.Tensor,
    spread: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of each pixel over the centers, and the sizes of the centers' masks.

    A pixel's target is the center of its segment.

    Args:
      mask_logits: [B, P, N].
      segments: [B, P] int32.
      center_of_segment: [B, M] int32.
      spread: [B, P] bool: pixels without a segment whose loss is 0 but whose gradient is that of
        a target that is zero everywhere, which lowers the winning logits.

    Returns:
      [B, P]; 0 for pixels without a segment or whose segment has no center. And [B, N], the sums of
      the probabilities of pixels with a segment.
    """
    centers = tf.gather(center_of_segment, tf.maximum(segments, 0), batch_dims=1)  # [B, P]
    targets = tf.where(segments >= 0, centers, -1)
    entropy, mask_sizes = ops.softmax_entropy_and_sums(
        mask_logits, targets, tf.cast(segments >= 0, tf.float32)
    )
    without = tf.where(spread, gradient_only(entropy), 0.0)
    return tf.where(targets >= 0, entropy, without), mask_sizes


def gradient_only(values: tf.Tensor) -> tf.Tensor:
    """Returns zeros that carry the gradient of `values`."""
    return values - tf.stop_gradient(values)
