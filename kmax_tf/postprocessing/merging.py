"""Merging masks into a panoptic map: mask-wise or pixel-wise.

Everything here is batched, of static shapes and in float32. N cluster centers, K classes without
void; H x W is the size of the network's input.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import tensorflow as tf

from kmax_tf.structures import LabelSpace, Predictions

REJECTED_LOGIT = -99999.0


class Masks(NamedTuple):
    """What merging starts from.

    Attributes:
      mask_logits: [B, h, w, N] as predicted.
      probability: [B, H, W, N] softmax over centers of the logits at full size.
      resized_logits: [B, H, W, N].
      confidence: [B, N] probability of each center's best class that is not void.
      class_index: [B, N] int32, that class.
    """

    mask_logits: tf.Tensor
    probability: tf.Tensor
    resized_logits: tf.Tensor
    confidence: tf.Tensor
    class_index: tf.Tensor


class Painting(NamedTuple):
    """Which center a pixel belongs to.

    Attributes:
      center: [B, H, W] int32; -1 for none.
      instance_of_center: [B, N] int32 instance id (1..) that a thing of this center gets.
      score_of_center: [B, N] what centers were ranked by.
      semantic_scores: [B, H, W] class confidence of the pixel's center.
      instance_scores: [B, H, W] mask probability; 0 where no center is confident in the image.
    """

    center: tf.Tensor
    instance_of_center: tf.Tensor
    score_of_center: tf.Tensor
    semantic_scores: tf.Tensor
    instance_scores: tf.Tensor


class Merging(Protocol):
    """A way to paint pixels with centers."""

    def paint(self, masks: Masks, label_space: LabelSpace, pixel_threshold: float) -> Painting:
        """Assigns pixels to centers."""


@dataclasses.dataclass(frozen=True)
class MaskWise:
    """Paints whole masks, best first, each where the canvas is still free.

    Ties in rank keep the order of the centers. A mask is refused, and takes no space, if its class
    confidence is below the threshold of its kind or too little of it is still free.

    Attributes:
      thing_threshold, stuff_threshold: least class confidence.
      overlap_threshold: share of the mask that must exceed this and still be free.
      class_weight, mask_weight: exponents of class confidence and mask score in the rank.
    """

    thing_threshold: float = 0.7
    stuff_threshold: float = 0.7
    overlap_threshold: float = 0.5
    class_weight: float = 1.0
    mask_weight: float = 0.0

    def paint(self, masks: Masks, label_space: LabelSpace, pixel_threshold: float) -> Painting:
        """Paints masks one after another."""
        small = tf.nn.softmax(masks.mask_logits)
        inside = tf.cast(small > pixel_threshold, tf.float32)
        mask_score = tf.math.divide_no_nan(
            tf.reduce_sum(small * inside, axis=[1, 2]), tf.reduce_sum(inside, axis=[1, 2])
        )  # [B, N]
        score = masks.confidence**self.class_weight * mask_score**self.mask_weight
        order = tf.argsort(score, direction="DESCENDING", stable=True)  # [B, N] center of each rank
        is_thing = tf.gather(tf.constant(label_space.is_thing), masks.class_index)
        threshold = tf.where(is_thing, self.thing_threshold, self.stuff_threshold)
        confident = masks.confidence >= threshold  # [B, N]

        binary = tf.transpose(masks.probability > pixel_threshold, [0, 3, 1, 2])  # [B, N, H, W]
        canvas = tf.fill(tf.shape(masks.probability)[:3], -1)

        def paint_rank(rank: tf.Tensor, canvas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            center = order[:, rank]  # [B]
            mask = tf.gather(binary, center, batch_dims=1)  # [B, H, W]
            free = mask & (canvas < 0)
            free_area = tf.math.count_nonzero(free, axis=[1, 2], dtype=tf.int32)
            area = tf.math.count_nonzero(mask, axis=[1, 2], dtype=tf.int32)
            enough = tf.cast(free_area, tf.float32) > (
                self.overlap_threshold * tf.cast(area, tf.float32)
            )
            accepted = enough & tf.gather(confident, center, batch_dims=1)  # [B]
            painted = free & accepted[:, tf.newaxis, tf.newaxis]
            return rank + 1, tf.where(painted, center[:, tf.newaxis, tf.newaxis], canvas)

        _, canvas = tf.while_loop(
            lambda rank, _: rank < order.shape[1], paint_rank, [tf.constant(0), canvas]
        )
        rank_of_center = tf.argsort(order)  # the inverse permutation
        return Painting(
            canvas,
            instance_of_center=rank_of_center + 1,
            score_of_center=score,
            semantic_scores=_lookup(masks.confidence, canvas, 0.0),
            instance_scores=_where_any(confident, tf.reduce_max(masks.probability, axis=-1)),
        )


@dataclasses.dataclass(frozen=True)
class PixelWise:
    """Gives each pixel its best center, if that is confident of a class.

    Attributes:
      class_threshold: least class confidence.
    """

    class_threshold: float = 0.7

    def paint(self, masks: Masks, label_space: LabelSpace, pixel_threshold: float) -> Painting:
        """Takes the argmax over confident centers."""
        del label_space
        survives = masks.confidence >= self.class_threshold  # [B, N]
        best = tf.argmax(masks.resized_logits, axis=-1, output_type=tf.int32)
        logits = tf.where(survives[:, tf.newaxis, tf.newaxis], masks.resized_logits, REJECTED_LOGIT)
        center = tf.argmax(logits, axis=-1, output_type=tf.int32)
        probability = tf.reduce_max(tf.nn.softmax(logits), axis=-1)  # [B, H, W]
        best_survives = tf.gather(survives, best, batch_dims=1)
        batch, centers = tf.shape(survives)[0], survives.shape[1]
        instances = tf.broadcast_to(tf.range(1, centers + 1), [batch, centers])
        return Painting(
            tf.where((probability > pixel_threshold) & best_survives, center, -1),
            instance_of_center=instances,
            score_of_center=masks.confidence,
            semantic_scores=_where_any(survives, _lookup(masks.confidence, center, 0.0)),
            instance_scores=_where_any(survives, probability),
        )


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
        masks = self._prepare(predictions)
        painting = self.merging.paint(masks, self.label_space, self.pixel_threshold)
        ids = tf.gather(tf.constant(self.label_space.ids), masks.class_index)  # [B, N]
        panoptic_of_center = self._panoptic_ids(masks, painting, ids)
        segment_ids = self._drop_small(panoptic_of_center, painting, masks)
        best = tf.argmax(masks.resized_logits, axis=-1, output_type=tf.int32)
        return {
            "panoptic": _lookup(segment_ids, painting.center, self.label_space.void_panoptic_id),
            "semantic": tf.gather(ids, best, batch_dims=1),
            "semantic_scores": painting.semantic_scores,
            "instance_scores": painting.instance_scores,
            "segment_ids": segment_ids,
            "segment_scores": painting.score_of_center,
        }

    def _prepare(self, predictions: Predictions) -> Masks:
        mask_logits = tf.cast(predictions["mask_logits"], tf.float32)
        size = (tf.shape(mask_logits)[1:3] - 1) * self.output_stride + 1
        resized = tf.raw_ops.ResizeBilinear(images=mask_logits, size=size, align_corners=True)
        resized = tf.ensure_shape(resized, [*_full_shape(mask_logits, self.output_stride)])
        class_probability = tf.nn.softmax(tf.cast(predictions["class_logits"], tf.float32))
        without_void = class_probability[..., :-1]
        return Masks(
            mask_logits=mask_logits,
            probability=tf.nn.softmax(resized),
            resized_logits=resized,
            confidence=tf.reduce_max(without_void, axis=-1),
            class_index=tf.argmax(without_void, axis=-1, output_type=tf.int32),
        )

    def _panoptic_ids(self, masks: Masks, painting: Painting, ids: tf.Tensor) -> tf.Tensor:
        """Returns [B, N]: the panoptic id of each center's segment."""
        is_thing = tf.gather(tf.constant(self.label_space.is_thing), masks.class_index)
        instances = tf.where(is_thing, painting.instance_of_center, 0)
        return ids * self.label_space.label_divisor + instances

    def _drop_small(
        self, panoptic_of_center: tf.Tensor, painting: Painting, masks: Masks
    ) -> tf.Tensor:
        """Returns [B, N]: the ids, void for centers that painted nothing or a too small segment."""
        batch, centers = tf.shape(panoptic_of_center)[0], panoptic_of_center.shape[1]
        offsets = tf.range(batch)[:, tf.newaxis, tf.newaxis] * centers
        rows = tf.where(painting.center >= 0, painting.center + offsets, -1)
        areas = tf.math.unsorted_segment_sum(
            tf.ones_like(tf.reshape(rows, [-1])), tf.reshape(rows, [-1]), batch * centers
        )
        areas = tf.reshape(areas, [batch, centers])
        same = panoptic_of_center[:, :, tf.newaxis] == panoptic_of_center[:, tf.newaxis]
        total = tf.reduce_sum(tf.where(same, areas[:, tf.newaxis], 0), axis=-1)  # one a stuff class
        is_thing = tf.gather(tf.constant(self.label_space.is_thing), masks.class_index)
        limit = tf.where(is_thing, self.thing_area_limit, self.stuff_area_limit)
        kept = (areas > 0) & (total >= limit)
        return tf.where(kept, panoptic_of_center, self.label_space.void_panoptic_id)


def _where_any(confident: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Returns the scores [B, H, W], 0 in images without any confident [B, N] center."""
    some = tf.reduce_any(confident, axis=1)[:, tf.newaxis, tf.newaxis]
    return tf.where(some, scores, 0.0)


def _full_shape(mask_logits: tf.Tensor, stride: int) -> list[int | None]:
    batch, height, width, centers = mask_logits.shape
    sides = [None if side is None else (side - 1) * stride + 1 for side in (height, width)]
    return [batch, *sides, centers]


def _lookup(values: tf.Tensor, center: tf.Tensor, default: float) -> tf.Tensor:
    """Returns [B, H, W]: the value [B, N] of each pixel's center, or the default."""
    found = tf.gather(values, tf.maximum(center, 0), batch_dims=1)
    return tf.where(center >= 0, found, tf.cast(default, values.dtype))
