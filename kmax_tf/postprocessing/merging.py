"""How masks are merged: which center paints each pixel.

This is the definition, and what XLA, GPUs and TPUs run: batched, and of shapes that don't depend on
values. On CPUs `merging_by_cells` gives the same, to the last bit, and faster: it reads pixels
otherwise.

B images, N cluster centers, K classes without void, all in float32; h x w is the resolution of the
mask logits, H x W that of the network's input. A pixel is in L masks at most, for the
probabilities of those above the threshold add up to no more than 1. So [B, H, W, L] says which it
is in, and [B, H, W, N] is never there as a whole: its logits are read a piece at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Union

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.ops import static_or_dynamic_shape
from kmax_tf.postprocessing.full_size import read_pixels
from kmax_tf.postprocessing.painting import Centers, Painting, Pixels
from kmax_tf.postprocessing.readings import (
    Best,
    MaskReading,
    Threshold,
    layers_of,
    read_class,
    read_masks,
    read_survivor,
)


@dataclasses.dataclass(frozen=True)
class Merging:
    """A way to paint pixels with centers.

    Attributes:
      class_thresholds: least class confidence, of each class; or these [K].
    """

    class_thresholds: Union[tuple[float, ...], tf.Tensor]

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: Threshold
    ) -> Painting:
        """Assigns pixels to centers.

        Args:
          mask_logits: [B, h, w, N] as predicted.
          stride: of the mask logits.
          centers: of this batch.
          pixel_threshold: probability that a pixel of a mask must exceed.
        """
        raise NotImplementedError

    def best_classes(self, class_maps: tf.Tensor, stride: int) -> tf.Tensor:
        """Finds the most probable class of each pixel, where several views were averaged.

        Args:
          class_maps: [B, h, w, K] class probabilities.
          stride: of the maps.

        Returns:
          [B, H, W] int32 class index; -1 where a probability isn't a number.
        """
        return read_pixels(class_maps, stride, read_class)

    def confident(self, centers: Centers) -> tf.Tensor:
        """Returns [B, N]: which centers are confident of their class."""
        return centers.confidence >= tf.gather(self.class_thresholds, centers.class_index)


@dataclasses.dataclass(frozen=True)
class MaskWise(Merging):
    """Paints whole masks, best first, each where the canvas is still free.

    Ties in rank keep the order of the centers. A mask is refused, and takes no space, if its class
    confidence is below the threshold of its class or too little of it is still free.

    Attributes:
      overlap_threshold: share of the mask that must exceed this and still be free.
      class_weight, mask_weight: exponents of class confidence and mask score in the rank.
      full_size_scores: whether the mask score is the mean over pixels of the full size, not over
        those of the mask logits.
    """

    overlap_threshold: Threshold
    class_weight: float
    mask_weight: float
    full_size_scores: bool

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: Threshold
    ) -> Painting:
        """Ranks the masks, then paints them."""
        pixels, reading, ranking = self._read(mask_logits, stride, pixel_threshold)
        mask_score = mean_probabilities(ranking, mask_logits.shape[3])
        score = centers.confidence**self.class_weight * mask_score**self.mask_weight
        order = tf.argsort(score, direction="DESCENDING", stable=True)  # [B, N] center of each rank
        rank = tf.argsort(order)  # the inverse permutation
        confident = self.confident(centers)
        painter, mask_area, area = self._paint_in_order(pixels, reading.masks, rank, confident)
        return Painting(
            pixels=pixels,
            best=reading.best.center,
            painter=painter,
            confidence_of=painter,
            probability=reading.best.probability,
            confident=confident,
            mask_area=mask_area,
            area=area,
            instance=rank + 1,
            score=score,
        )

    def _read(
        self, mask_logits: tf.Tensor, stride: int, pixel_threshold: Threshold
    ) -> tuple[Pixels, MaskReading, MaskReading]:
        """Reads pixels, the largest probability as a map; and those by which masks are ranked.

        The latter are maps, [B, h, w] or [B, H, W].
        """
        read = functools.partial(read_masks, threshold=pixel_threshold)
        reading = read_pixels(mask_logits, stride, read)
        ranking = reading if self.full_size_scores else read_pixels(mask_logits, 1, read)
        return every_pixel(mask_logits), reading, ranking

    def _paint_in_order(
        self, pixels: Pixels, masks: tf.Tensor, rank: tf.Tensor, confident: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Goes through the masks from best to worst; each takes what is free, if it is enough.

        Args:
          pixels: P of them, in whatever shape.
          masks: [P, L] which masks a pixel is in.
          rank: [B, N] of each center.
          confident: [B, N] whether a center may have a mask.

        Returns:
          [P] the center that painted each pixel, -1 for none; [B, N] int32 pixels of each confident
          mask; [B, N] int32 pixels that it gets, 0 where it is refused.
        """
        layers = layers_of(masks)
        order, count = confident_in_order(rank, confident)

        def paint(
            place: tf.Tensor, canvas: tf.Tensor, mask_area: tf.Tensor, area: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            center = order[:, place]  # [B]
            painter = pixels.of_images(center)
            mask = tf.reduce_any(layers == painter, axis=0)
            free = mask & (canvas < 0)
            mask_size, free_size = pixels.area(mask), pixels.area(free)  # [B]
            painted = self.painted_size(free_size, mask_size)
            canvas = tf.where(free & pixels.of_images(painted > 0), painter, canvas)
            is_center = tf.range(rank.shape[1]) == center[:, tf.newaxis]  # [B, N]
            mask_area = tf.where(is_center, mask_size[:, tf.newaxis], mask_area)
            area = tf.where(is_center, painted[:, tf.newaxis], area)
            return place + 1, canvas, mask_area, area

        nothing = [tf.fill(tf.shape(layers[0]), -1), tf.zeros_like(rank), tf.zeros_like(rank)]
        start = [tf.constant(0), *nothing]
        return tuple(tf.while_loop(lambda place, *_: place < count, paint, start)[1:])

    def painted_size(self, free_size: tf.Tensor, mask_size: tf.Tensor) -> tf.Tensor:
        """Returns how many pixels of a mask are painted: the free ones, 0 if they are too few."""
        least = self.overlap_threshold * tf.cast(mask_size, tf.float32)
        return tf.where(tf.cast(free_size, tf.float32) > least, free_size, 0)


@dataclasses.dataclass(frozen=True)
class PixelWise(Merging):
    """Gives each pixel its best center, if that is confident of a class."""

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: Threshold
    ) -> Painting:
        """Takes the argmax over confident centers."""
        confident = self.confident(centers)
        pixels, best, survivor, probability = self._read(
            mask_logits, stride, confident, pixel_threshold
        )
        sure = survivor.probability > pixel_threshold
        painter = tf.where(sure & pixels.of_centers(confident, best, False), best, -1)
        area = pixels.areas(painter, confident.shape[1])
        some = pixels.of_images(tf.reduce_any(confident, axis=1))
        number = tf.range(1, confident.shape[1] + 1)
        return Painting(
            pixels=pixels,
            best=best,
            painter=painter,
            confidence_of=tf.where(some, survivor.center, -1),
            probability=probability,
            confident=confident,
            mask_area=area,
            area=area,
            instance=tf.ones_like(centers.class_index) * number,
            score=centers.confidence,
        )

    def _read(
        self, mask_logits: tf.Tensor, stride: int, confident: tf.Tensor, pixel_threshold: Threshold
    ) -> tuple[Pixels, tf.Tensor, Best, tf.Tensor]:
        """Reads the best centers of pixels, the best confident ones, and the latter's map."""
        del pixel_threshold
        read = functools.partial(read_survivor, confident=confident)
        best, survivor = read_pixels(mask_logits, stride, read)
        return every_pixel(mask_logits), best.center, survivor, survivor.probability


def every_pixel(mask_logits: tf.Tensor) -> Pixels:
    """Returns the pixels of a batch, in the form of maps."""
    batch = static_or_dynamic_shape(mask_logits)[0]
    return Pixels(batch, tf.range(batch)[:, tf.newaxis, tf.newaxis], tf.constant(1))


def confident_in_order(rank: tf.Tensor, confident: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the confident centers by rank [B, N], behind them -2; and the most of an image."""
    order = tf.argsort(tf.where(confident, rank, rank + rank.shape[1]))
    counts = tf.math.count_nonzero(confident, axis=1, dtype=tf.int32)
    there = tf.range(rank.shape[1]) < counts[:, tf.newaxis]
    return tf.where(there, order, -2), tf.reduce_max(counts)


def mean_probabilities(reading: MaskReading, num_centers: int) -> tf.Tensor:
    """Returns [B, N]: the mean probability of the pixels [B, h, w] of each mask; 0 of an empty one.

    Each row of the image is summed first, for float32 to be exact enough.
    """
    sums = ops.choose(_sums_by_scattering, in_other_runtimes=_sums_in_turn)
    counts = sums(tf.ones_like(reading.probabilities), reading.masks, num_centers)
    return tf.math.divide_no_nan(sums(reading.probabilities, reading.masks, num_centers), counts)


def _sums_by_scattering(values: tf.Tensor, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Returns [B, N]: the sum over the pixels of each mask of values and masks [B, h, w, L]."""
    batch, height, _, _ = static_or_dynamic_shape(masks)
    row = tf.reshape(tf.range(batch * height), [batch, height, 1, 1])
    ids = tf.where(masks >= 0, row * num_centers + masks, -1)  # [B, h, w, L]
    of_rows = tf.math.unsorted_segment_sum(values, ids, batch * height * num_centers)
    return tf.reduce_sum(tf.reshape(of_rows, [batch, height, num_centers]), axis=1)  # [B, N]


def _sums_in_turn(values: tf.Tensor, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Returns the same, of one center after another: more work, but nothing is scattered."""

    def sum_of(center: tf.Tensor) -> tf.Tensor:
        of_rows = tf.reduce_sum(tf.where(masks == center, values, 0.0), axis=[2, 3])
        return tf.reduce_sum(of_rows, axis=1)  # [B]

    return ops.in_turn(sum_of, masks.shape[0], num_centers, values.dtype)
