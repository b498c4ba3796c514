"""The ground truth that a prediction is compared with, and its matching with cluster centers."""

from __future__ import annotations

import dataclasses
import functools

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.matching import Matcher, Matching, class_similarity, mask_similarity
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
      options: what they mean.
      size: height and width of the grid.
    """

    targets: Targets
    options: TruthOptions
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
        return self.labeled & (self.segments < 0) & self.options.unmatched_gradient


def match_truth(
    targets: Targets, predictions: Predictions, options: TruthOptions, match: Matcher
) -> Truth:
    """Matches segments with the final prediction's centers by mask and class similarity."""
    mask_logits, classes = predictions["mask_logits"], targets["segment_classes"]
    segments = ops.pixels_of(subsample(targets["segment_map"], mask_logits))
    labeled = ops.pixels_of(subsample(targets["semantic_map"], mask_logits)) != options.ignore_label
    ones = tf.ones_like(segments, tf.float32)
    areas = ops.segment_sums(ones, segments, classes.shape[1])  # [B, M]
    of_masks, unlabeled_share = mask_similarity(mask_logits, segments, labeled, areas)
    of_classes = class_similarity(predictions["class_logits"], classes)
    matching = match(of_masks * of_classes, (areas > 0) & (classes >= 0))

    center = tf.maximum(matching.center_of_segment, 0)[..., tf.newaxis]
    segment = tf.maximum(matching.segment_of_center, 0)[..., tf.newaxis]
    matched = matching.segment_of_center >= 0
    of_center = tf.gather(tf.transpose(of_masks, [0, 2, 1]), segment, batch_dims=2)[..., 0]
    classes_of_center = tf.gather(classes, segment[..., 0], batch_dims=1)  # [B, N]
    return Truth(
        targets=targets,
        options=options,
        size=tuple(mask_logits.shape[1:3]),
        segments=segments,
        labeled=labeled,
        areas=areas,
        matching=matching,
        target_classes=tf.where(matched, classes_of_center, options.num_classes),
        segment_weights=tf.stop_gradient(tf.gather(of_classes, center, batch_dims=2)[..., 0]),
        center_weights=tf.stop_gradient(tf.where(matched, of_center, unlabeled_share)),
    )
