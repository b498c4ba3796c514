"""The PQ-style loss (MaX-DeepLab, arXiv 2012.00759, 3.2): a term of masks and a term of classes."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.term import Term, mean_of_nonzero
from kmax_tf.losses.truth import Truth

WEIGHT_FLOOR = 1e-5


@dataclasses.dataclass(frozen=True)
class PqMask(Term):
    """Dice loss of the matched masks; matched_share is a factor of it."""

    name = "pq_mask"
    matched_share: float

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""
        entropy, mask_sizes = prediction.pixel_entropy_and_mask_sizes
        centers = truth.matching.center_of_segment
        return self.matched_share * mask_dice(
            mask_sizes, entropy, truth.segments, centers, truth.segment_weights
        )


@dataclasses.dataclass(frozen=True)
class PqClass(Term):
    """Cross-entropy of the classes of all centers, matched or void."""

    name = "pq_class"
    reads = "class_logits"
    matched_share: float

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""
        return class_cross_entropy(
            prediction.outputs["class_logits"],
            truth.target_classes,
            truth.center_weights,
            self.matched_share,
        )


def mask_dice(
    mask_sizes: tf.Tensor,
    pixel_cross_entropy: tf.Tensor,
    segments: tf.Tensor,
    center_of_segment: tf.Tensor,
    segment_weights: tf.Tensor,
) -> tf.Tensor:
    """Dice loss between each segment and its center's mask, weighted by class similarity.

    Args:
      mask_sizes: [B, N] sums of the probabilities of pixels with a segment.
      pixel_cross_entropy: [B, P]; -log of the probability of the pixel's center.
      segments: [B, P] int32.
      center_of_segment: [B, M] int32; -1 where there is none.
      segment_weights: [B, M] class probability of the match, without gradient.

    Returns:
      [B]: sum over segments, divided by N.
    """
    num_segments = center_of_segment.shape[1]
    labeled = tf.cast(segments >= 0, tf.float32)
    predicted = ops.read_rows(mask_sizes, tf.maximum(center_of_segment, 0))  # [B, M]
    intersection = ops.segment_sums(tf.exp(-pixel_cross_entropy) * labeled, segments, num_segments)
    areas = ops.segment_sums(labeled, segments, num_segments)
    dice = 1.0 - (2.0 * intersection + 1.0) / (predicted + areas + 1.0)  # [B, M]
    matched = tf.cast(center_of_segment >= 0, tf.float32)
    weights = matched * tf.maximum(segment_weights, WEIGHT_FLOOR)
    return tf.reduce_sum(weights * dice, axis=1) / mask_sizes.shape[1]


def class_cross_entropy(
    class_logits: tf.Tensor,
    target_classes: tf.Tensor,
    center_weights: tf.Tensor,
    matched_share: float,
) -> tf.Tensor:
    """Cross-entropy of each center's class: that of its segment, or void.

    Args:
      class_logits: [B, N, K+1].
      target_classes: [B, N] int32; K is void.
      center_weights: [B, N] without gradient: mask similarity of matched centers; for the others
        the share of their mask that lies on unlabeled pixels.
      matched_share: weight of the matched centers; the others get 1 - matched_share.

    Returns:
      [B]: mean over the centers whose term is not zero.
    """
    void = class_logits.shape[2] - 1
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target_classes, class_logits)
    share = tf.where(target_classes == void, 1.0 - matched_share, matched_share)
    return mean_of_nonzero(entropy * share * tf.maximum(center_weights, WEIGHT_FLOOR))
