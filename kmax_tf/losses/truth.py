"""The ground truth that a prediction is compared with, and its matching with cluster centers."""

from __future__ import annotations

import dataclasses
import functools

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.matching import Matcher, Matching
from kmax_tf.ops.resizing import subsample
from kmax_tf.structures import Predictions, Targets


@dataclasses.dataclass(frozen=True)
class TruthOptions:
    """What the targets mean.

    Attributes:
      num_classes: K, without void.
      ignore_label: semantic id of unlabeled pixels.
      unmatched_gradient: whether pixels without a segment (crowd pixels and, in the contrastive
        term, sampled unlabeled ones), whose loss is 0, get the gradient of a target that is zero
        everywhere, as in the published training: it lowers what they resemble most.
    """

    num_classes: int
    ignore_label: int
    unmatched_gradient: bool


@dataclasses.dataclass(frozen=True)
class Truth:
    """Ground truth on the grid of the mask logits, flattened, and the matching with its weights.

    Attributes:
      targets: as they were given, at the size of the images.
      ignore_label, unmatched_gradient: see `TruthOptions`.
      size: height and width of the grid.
    """

    targets: Targets
    ignore_label: int
    unmatched_gradient: bool
    size: tuple[int, int]
    segments: tf.Tensor  # [B, P] int32
    labeled: tf.Tensor  # [B, P] bool
    areas: tf.Tensor  # [B, M]
    matching: Matching
    target_classes: tf.Tensor  # [B, N] int32
    segment_weights: tf.Tensor  # [B, M]
    center_weights: tf.Tensor  # [B, N]

    @functools.cached_property
    def spread(self) -> tf.Tensor:
        """Returns [B, P] bool: crowd pixels that get a gradient."""
        return self.labeled & (self.segments < 0) & self.unmatched_gradient


def match_truth(
    targets: Targets, predictions: Predictions, options: TruthOptions, match: Matcher
) -> Truth:
    """Matches segments with the final prediction's centers by mask and class similarity."""
    mask_logits = predictions["mask_logits"]
    segments = flatten(subsample(targets["segment_map"], mask_logits))
    semantic = flatten(subsample(targets["semantic_map"], mask_logits))
    labeled = semantic != options.ignore_label
    num_segments = targets["segment_classes"].shape[1]
    ones = tf.ones_like(segments, tf.float32)
    areas = ops.segment_sums(ones, segments, num_segments)  # [B, M]
    classes = targets["segment_classes"]
    valid = (areas > 0) & (classes >= 0)

    probability = tf.nn.softmax(flatten(mask_logits))  # [B, P, N]
    overlap = ops.segment_sums(probability, segments, num_segments)  # [B, M, N]
    labeled_size = tf.einsum("bpn,bp->bn", probability, tf.cast(labeled, tf.float32))
    size = tf.reduce_sum(probability, axis=1)  # [B, N]
    mean_size = (areas[:, :, tf.newaxis] + labeled_size[:, tf.newaxis, :]) / 2
    mask_similarity = overlap / (mean_size + 1e-5)
    class_similarity = tf.gather(
        tf.transpose(tf.nn.softmax(predictions["class_logits"]), [0, 2, 1]),
        tf.maximum(classes, 0),
        batch_dims=1,
    )  # [B, M, N]
    matching = match(mask_similarity * class_similarity, valid)

    segment = tf.maximum(matching.segment_of_center, 0)[:, :, tf.newaxis]
    matched = matching.segment_of_center >= 0
    similarity_of_center = tf.gather(
        tf.transpose(mask_similarity, [0, 2, 1]), segment, batch_dims=2
    )[..., 0]  # [B, N]
    unlabeled_share = (size - labeled_size) / (size + 1e-5)
    classes_of_center = tf.gather(classes, segment[..., 0], batch_dims=1)
    center = tf.maximum(matching.center_of_segment, 0)[:, :, tf.newaxis]
    return Truth(
        targets=targets,
        ignore_label=options.ignore_label,
        unmatched_gradient=options.unmatched_gradient,
        size=tuple(mask_logits.shape[1:3]),
        segments=segments,
        labeled=labeled,
        areas=areas,
        matching=matching,
        target_classes=tf.where(matched, classes_of_center, options.num_classes),
        segment_weights=tf.stop_gradient(tf.gather(class_similarity, center, batch_dims=2)[..., 0]),
        center_weights=tf.stop_gradient(tf.where(matched, similarity_of_center, unlabeled_share)),
    )


def flatten(x: tf.Tensor) -> tf.Tensor:
    """Returns [B, H * W, ...] of [B, H, W, ...]."""
    batch, height, width, *others = x.shape
    return tf.reshape(x, [-1 if batch is None else batch, height * width, *others])
