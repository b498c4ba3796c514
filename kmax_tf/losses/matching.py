"""Matching of ground-truth segments to cluster centers (MaX-DeepLab, arXiv 2012.00759, 3.2).

Segments and centers are as similar as their masks times their classes. There are two
implementations of the optimum: `match_on_host`, which a CPU, or the host of a GPU, runs fastest,
and `match_in_graph`, for XLA and TPU.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from kmax_tf import ops

# Costs are similarities, none above 1, with the other sign.
_MORE_THAN_ANY_COST = 4.0


class Matching(NamedTuple):
    """Which center answers for which segment; no gradient passes.

    Attributes:
      center_of_segment: [B, M] int32; -1 for padding and for segments beyond the centers.
      segment_of_center: [B, N] int32; -1 for centers without a segment.
    """

    center_of_segment: tf.Tensor
    segment_of_center: tf.Tensor


# (similarity [B, M, N], valid [B, M]) -> the matching with the largest sum of similarities. Every
# valid segment gets a center, or every center a segment where there are more segments. Similarities
# that are not numbers count as 0, so that a broken step ends and can be reported.
Matcher = Callable[[tf.Tensor, tf.Tensor], Matching]


def mask_similarity(
    mask_logits: tf.Tensor, segments: tf.Tensor, labeled: tf.Tensor, areas: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compares masks, of the softmax over the centers, with segments.

    Args:
      mask_logits: [B, H, W, N].
      segments: [B, P] int32; -1: none.
      labeled: [B, P] bool; other pixels don't count.
      areas: [B, M] of the segments.

    Returns:
      [B, M, N]: the pixels that both have over the mean of their sizes. And [B, N], the share of
      each mask that is unlabeled.
    """
    probability = tf.nn.softmax(ops.pixels_of(mask_logits))  # [B, P, N]
    overlap = ops.segment_sums(probability, segments, areas.shape[1])  # [B, M, N]
    labeled_size = tf.einsum("bpn,bp->bn", probability, tf.cast(labeled, tf.float32))
    size = tf.reduce_sum(probability, axis=1)  # [B, N]
    mean_size = (areas[:, :, tf.newaxis] + labeled_size[:, tf.newaxis, :]) / 2
    return overlap / (mean_size + 1e-5), (size - labeled_size) / (size + 1e-5)


def class_similarity(class_logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Returns [B, M, N]: how probable the class of each segment is for each center.

    Args:
      class_logits: [B, N, K+1].
      classes: [B, M] int32; -1 pads.
    """
    by_class = tf.transpose(tf.nn.softmax(class_logits), [0, 2, 1])  # [B, K+1, N]
    return tf.gather(by_class, tf.maximum(classes, 0), batch_dims=1)


def match_on_host(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
    """Matches with SciPy; see `Matcher`."""
    return Matching(*ops.assign_on_host(-_finite(similarity), valid))


def match_in_graph(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
    """Matches with TensorFlow operations; see `Matcher`."""
    return Matching(*ops.assign_in_graph(-_finite(similarity), valid, _MORE_THAN_ANY_COST))


def rounded(match: Matcher, resolution: float) -> Matcher:
    """Returns a matcher that sees similarities rounded to multiples of `resolution`."""

    def match_rounded(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
        return match(tf.round(similarity / resolution) * resolution, valid)

    return match_rounded


def _finite(similarity: tf.Tensor) -> tf.Tensor:
    similarity = tf.stop_gradient(similarity)
    return tf.where(tf.math.is_finite(similarity), similarity, 0.0)
