"""From predictions to a panoptic map and what belongs to it."""

from __future__ import annotations

import dataclasses
import enum

import tensorflow as tf

from kmax_tf.labels import LabelSpace
from kmax_tf.postprocessing.merging import Merging
from kmax_tf.postprocessing.painting import Centers, Painting
from kmax_tf.postprocessing.readings import Threshold
from kmax_tf.structures import Predictions

MAPS = ("panoptic", "semantic", "semantic_scores", "instance_scores")
SEGMENTS = (
    *("segment_ids", "segment_scores", "segment_fates", "segment_classes"),
    *("segment_confidences", "mask_areas", "painted_areas"),
)


class RejectionReason(enum.IntEnum):
    """Which rule dropped a center's mask, the first that did; KEPT if none."""

    KEPT = 0
    CLASS_THRESHOLD = 1
    EMPTY = 2
    OVERLAP = 3
    AREA_LIMIT = 4


@dataclasses.dataclass(frozen=True)
class Postprocessor:
    """Predictions -> panoptic map and what belongs to it.

    Attributes:
      labels: what ids mean.
      merging: how pixels are painted.
      output_stride: of the mask logits; maps have (h - 1) * output_stride + 1 rows.
      pixel_threshold: least probability of a pixel in a mask.
      thing_area_limit, stuff_area_limit: smaller segments become unlabeled; 0 keeps all.
    """

    labels: LabelSpace
    merging: Merging
    output_stride: int
    pixel_threshold: Threshold
    thing_area_limit: int
    stuff_area_limit: int

    def __call__(self, predictions: Predictions) -> dict[str, tf.Tensor]:
        """Merges the masks of a batch.

        Args:
          predictions: with mask_logits [B, h, w, N] and class_logits [B, N, K+1].

        Returns:
          panoptic: [B, H, W] int32, class id * label_divisor + instance (0 for stuff); the void
            panoptic id where unlabeled. Instance ids are unique in the image, not 1, 2, 3...
          semantic: [B, H, W] int32 class id of each pixel's best center, with no threshold.
          semantic_scores: [B, H, W] class confidence of the pixel's center, else 0.
          instance_scores: [B, H, W] largest mask probability; 0 if no center is confident.
          segment_ids: [B, N] int32 panoptic id that each center painted, the void one if none.
          segment_scores: [B, N] what the centers were ranked by.
          segment_fates: [B, N] int32 `RejectionReason` of each center's mask.
          segment_classes: [B, N] int32 class id that each center is most confident of.
          segment_confidences: [B, N] how confident.
          mask_areas: [B, N] int32 pixels of each mask; of confident centers only, others have 0.
            Pixel-wise, those that are painted.
          painted_areas: [B, N] int32 pixels that each center painted, before area limits.

        A pixel with a logit of NaN or infinity is in no mask, and has no best center: it is
        unlabeled and its scores are 0. Minus infinity means a probability of 0. A center with a
        class logit of NaN or infinity has confidence 0.
        """
        mask_logits = tf.cast(predictions["mask_logits"], tf.float32)
        centers = _centers(tf.cast(predictions["class_logits"], tf.float32))
        painting = self.merging.paint(
            mask_logits, self.output_stride, centers, self.pixel_threshold
        )
        labels, to_map = self.labels, painting.pixels.map_of_centers
        segment_ids = self._segment_ids(painting, centers.class_index)
        ids = tf.gather(tf.constant(labels.ids), centers.class_index)  # [B, N]
        some = tf.reduce_any(painting.confident, axis=1)[:, tf.newaxis, tf.newaxis]
        if "class_maps" in predictions:
            best = self.merging.best_classes(predictions["class_maps"], self.output_stride)
            semantic = tf.where(
                best >= 0, tf.gather(labels.ids, tf.maximum(best, 0)), labels.ignore_label
            )
        else:
            semantic = to_map(ids, painting.best, labels.ignore_label)
        return {
            "panoptic": to_map(segment_ids, painting.painter, labels.void_panoptic_id),
            "semantic": semantic,
            "semantic_scores": to_map(centers.confidence, painting.confidence_of, 0.0),
            "instance_scores": tf.where(some, painting.probability, 0.0),
            "segment_ids": segment_ids,
            "segment_scores": painting.score,
            "segment_fates": self._reasons(painting, segment_ids),
            "segment_classes": ids,
            "segment_confidences": centers.confidence,
            "mask_areas": painting.mask_area,
            "painted_areas": painting.area,
        }

    def _reasons(self, painting: Painting, segment_ids: tf.Tensor) -> tf.Tensor:
        """Returns [B, N] int32: `RejectionReason`."""
        reason = RejectionReason
        no_segment = segment_ids == self.labels.void_panoptic_id
        reasons = tf.where(no_segment, reason.AREA_LIMIT.value, reason.KEPT.value)
        reasons = tf.where(painting.area > 0, reasons, reason.OVERLAP.value)
        reasons = tf.where(painting.mask_area > 0, reasons, reason.EMPTY.value)
        return tf.where(painting.confident, reasons, reason.CLASS_THRESHOLD.value)

    def _segment_ids(self, painting: Painting, class_index: tf.Tensor) -> tf.Tensor:
        """Returns [B, N]: panoptic ids, void for centers that painted nothing or too little."""
        is_thing = tf.gather(tf.constant(self.labels.is_thing), class_index)
        instances = tf.where(is_thing, painting.instance, 0)
        ids = tf.gather(tf.constant(self.labels.ids), class_index)
        panoptic = ids * self.labels.label_divisor + instances
        areas = painting.area
        same = panoptic[:, :, tf.newaxis] == panoptic[:, tf.newaxis]
        total = tf.reduce_sum(tf.where(same, areas[:, tf.newaxis], 0), axis=-1)  # one a stuff class
        limit = tf.where(is_thing, self.thing_area_limit, self.stuff_area_limit)
        kept = (areas > 0) & (total >= limit)
        return tf.where(kept, panoptic, self.labels.void_panoptic_id)


def _centers(class_logits: tf.Tensor) -> Centers:
    """Reads class logits [B, N, K+1]; a center whose logits aren't finite is sure of nothing."""
    without_void = tf.nn.softmax(class_logits)[..., :-1]
    confidence = tf.reduce_max(without_void, axis=-1)
    return Centers(
        confidence=tf.where(confidence >= 0, confidence, 0.0),
        class_index=tf.argmax(without_void, axis=-1, output_type=tf.int32),
    )
