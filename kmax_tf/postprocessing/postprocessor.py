"""From predictions to a panoptic map and what belongs to it."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf.postprocessing.merging import Centers, Merging, Painting, lookup
from kmax_tf.structures import LabelSpace, Predictions


@dataclasses.dataclass(frozen=True)
class Postprocessor:
    """Predictions -> panoptic map and what belongs to it.

    Attributes:
      label_space: what ids mean.
      merging: how pixels are painted.
      output_stride: of the mask logits; maps have (h - 1) * output_stride + 1 rows.
      pixel_threshold: least probability of a pixel in a mask.
      thing_area_limit, stuff_area_limit: smaller segments become unlabeled; 0 keeps all.
    """

    label_space: LabelSpace
    merging: Merging
    output_stride: int
    pixel_threshold: float = 0.4
    thing_area_limit: int = 0
    stuff_area_limit: int = 0

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
        """
        mask_logits = tf.cast(predictions["mask_logits"], tf.float32)
        class_probability = tf.nn.softmax(tf.cast(predictions["class_logits"], tf.float32))
        without_void = class_probability[..., :-1]
        centers = Centers(
            confidence=tf.reduce_max(without_void, axis=-1),
            class_index=tf.argmax(without_void, axis=-1, output_type=tf.int32),
        )
        painting = self.merging.paint(
            mask_logits, self.output_stride, centers, self.pixel_threshold
        )
        segment_ids = self._segment_ids(painting, centers.class_index)
        ids = tf.gather(tf.constant(self.label_space.ids), centers.class_index)  # [B, N]
        return {
            "panoptic": lookup(segment_ids, painting.center, self.label_space.void_panoptic_id),
            "semantic": tf.gather(ids, painting.best, batch_dims=1),
            "semantic_scores": painting.semantic_scores,
            "instance_scores": painting.instance_scores,
            "segment_ids": segment_ids,
            "segment_scores": painting.score_of_center,
        }

    def _segment_ids(self, painting: Painting, class_index: tf.Tensor) -> tf.Tensor:
        """Returns [B, N]: panoptic ids, void for centers that painted nothing or too little."""
        is_thing = tf.gather(tf.constant(self.label_space.is_thing), class_index)
        instances = tf.where(is_thing, painting.instance_of_center, 0)
        ids = tf.gather(tf.constant(self.label_space.ids), class_index)
        panoptic = ids * self.label_space.label_divisor + instances
        areas = painting.area_of_center
        same = panoptic[:, :, tf.newaxis] == panoptic[:, tf.newaxis]
        total = tf.reduce_sum(tf.where(same, areas[:, tf.newaxis], 0), axis=-1)  # one a stuff class
        limit = tf.where(is_thing, self.thing_area_limit, self.stuff_area_limit)
        kept = (areas > 0) & (total >= limit)
        return tf.where(kept, panoptic, self.label_space.void_panoptic_id)
