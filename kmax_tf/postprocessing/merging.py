"""How masks are merged: which center paints each pixel.

This is the definition, and what XLA, GPUs and TPUs run: batched, and of shapes that don't depend on
values. On CPUs `merging_by_cells` gives the same, to the last bit, and faster.

B images, N cluster centers, K classes without void, all in float32; h x w is the resolution of the
mask logits, H x W that of the network's input. A pixel is in k masks at most, for the
probabilities of those above the threshold add up to no more than 1. So [B, H, W, k] says which it
is in, and [B, H, W, N] is never there as a whole: its logits are read a piece at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Callable

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.postprocessing.full_size import read_pixels, sizes
from kmax_tf.postprocessing.painting import Centers, Painting
from kmax_tf.postprocessing.readings import read_class, read_masks, read_survivor


@dataclasses.dataclass(frozen=True)
class Merging:
    """A way to paint pixels with centers.

    Attributes:
      class_thresholds: least class confidence, of each class.
    """

    class_thresholds: tuple[float, ...]

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
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

    overlap_threshold: float
    class_weight: float
    mask_weight: float
    full_size_scores: bool

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
    ) -> Painting:
        """Ranks the masks, then paints them."""
        read = functools.partial(read_masks, threshold=pixel_threshold)
        pixels = read_pixels(mask_logits, stride, read)
        scored = pixels if self.full_size_scores else read_pixels(mask_logits, 1, read)
        score = self.scores(centers, scored.masks, scored.probabilities)
        rank = rank_of(score)
        confident = self.confident(centers)
        painter, mask_area, area = paint_in_order(
            pixels.masks, rank, confident, self.overlap_threshold, _of_pixels, _area_of
        )
        return Painting(
            best=pixels.best.center,
            painter=painter,
            scored=painter,
            to_map=_to_map,
            probability=pixels.best.probability,
            confident=confident,
            mask_area=mask_area,
            area=area,
            instance=rank + 1,
            score=score,
        )

    def scores(
        self, centers: Centers, masks: tf.Tensor, mask_probabilities: tf.Tensor
    ) -> tf.Tensor:
        """Returns [B, N]: what masks are ranked by; pixels are [B, h, w, k] or [B, H, W, k]."""
        num_centers = centers.confidence.shape[1]
        mask_score = mean_probabilities(masks, mask_probabilities, num_centers)
        return centers.confidence**self.class_weight * mask_score**self.mask_weight


@dataclasses.dataclass(frozen=True)
class PixelWise(Merging):
    """Gives each pixel its best center, if that is confident of a class."""

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
    ) -> Painting:
        """Takes the argmax over confident centers."""
        confident = self.confident(centers)
        every, survivor = read_pixels(
            mask_logits, stride, functools.partial(read_survivor, confident=confident)
        )
        sure = survivor.probability > pixel_threshold
        best_is_confident = _to_map(confident, every.center, False)
        painter = tf.where(sure & best_is_confident, survivor.center, -1)
        painters = painter[..., tf.newaxis]
        area = sums_of_masks(tf.ones_like(painters), painters, confident.shape[1])
        some = _of_pixels(tf.reduce_any(confident, axis=1))
        return Painting(
            best=every.center,
            painter=painter,
            scored=tf.where(some, survivor.center, -1),
            to_map=_to_map,
            probability=survivor.probability,
            confident=confident,
            mask_area=area,
            area=area,
            instance=self.instances(centers),
            score=centers.confidence,
        )

    def instances(self, centers: Centers) -> tf.Tensor:
        """Returns [B, N]: the number of each center, from 1 on."""
        return tf.ones_like(centers.class_index) * tf.range(1, centers.class_index.shape[1] + 1)


def rank_of(score: tf.Tensor) -> tf.Tensor:
    """Returns [B, N]: the rank of each center by its score [B, N], 0 the best; ties keep order."""
    order = tf.argsort(score, direction="DESCENDING", stable=True)  # [B, N] center of each rank
    return tf.argsort(order)  # the inverse permutation


def confident_in_order(rank: tf.Tensor, confident: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the confident centers by rank [B, N], the others behind; the most of an image."""
    order = tf.argsort(tf.where(confident, rank, rank + rank.shape[1]))
    return order, tf.reduce_max(tf.math.count_nonzero(confident, axis=1, dtype=tf.int32))


def mean_probabilities(
    masks: tf.Tensor, mask_probabilities: tf.Tensor, num_centers: int
) -> tf.Tensor:
    """Returns [B, N]: the mean probability of the pixels of each mask; 0 of an empty one.

    Args:
      masks: [B, h, w, k] which masks pixels are in, -1 for none.
      mask_probabilities: [B, h, w, k] of the pixels in these.
      num_centers: N.
    """
    counts = sums_of_masks(tf.ones_like(mask_probabilities), masks, num_centers)
    sums = sums_of_masks(mask_probabilities, masks, num_centers)
    return tf.math.divide_no_nan(sums, counts)


def sums_of_masks(values: tf.Tensor, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Returns [B, N]: what the pixels of each mask add up to.

    Each row of the image is summed first, for float32 to be exact enough.

    Args:
      values: [B, h, w, k] of the pixels in their masks.
      masks: [B, h, w, k] which masks pixels are in, -1 for none.
      num_centers: N.
    """
    form = ops.choose(_sums_by_scattering, in_other_runtimes=_sums_by_center)
    return form(values, masks, num_centers)


def _sums_by_scattering(values: tf.Tensor, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    batch, height, _ = sizes(masks)
    row = tf.reshape(tf.range(batch * height), [batch, height, 1, 1])
    ids = tf.where(masks >= 0, row * num_centers + masks, -1)  # [B, h, w, k]
    of_rows = tf.math.unsorted_segment_sum(values, ids, batch * height * num_centers)
    return tf.reduce_sum(tf.reshape(of_rows, [batch, height, num_centers]), axis=1)  # [B, N]


def _sums_by_center(values: tf.Tensor, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Looks for one center after another: more work, but nothing is scattered."""

    def add(center: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_center = tf.where(masks == center, values, tf.zeros([], values.dtype))
        of_rows = tf.reduce_sum(of_center, axis=[2, 3])
        here = tf.reduce_sum(of_rows, axis=1)[:, tf.newaxis]
        return center + 1, tf.where(tf.range(num_centers) == center, here, sums)

    nothing = tf.zeros([values.shape[0], num_centers], values.dtype)
    start = [tf.constant(0), nothing]
    return tf.while_loop(lambda center, _: center < num_centers, add, start)[1]


def paint_in_order(
    masks: tf.Tensor,
    rank: tf.Tensor,
    confident: tf.Tensor,
    overlap_threshold: float,
    of_pixels: Callable[[tf.Tensor], tf.Tensor],
    area_of: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Goes through the masks from the best to the worst; each takes what is free, if it is enough.

    Args:
      masks: [B, H, W, k] which masks a pixel is in; or [P, k] in another arrangement of pixels.
      rank: [B, N] of each center.
      confident: [B, N] whether a center may have a mask.
      overlap_threshold: share of a mask that must exceed this and not be taken by masks before it.
      of_pixels: [B] -> [B, 1, 1], or [P]; gives pixels what their image has.
      area_of: [B, H, W] or [P] bool -> [B] int32, how many pixels of each image that is.

    Returns:
      The center that painted each pixel, -1 for none; [B, N] int32 pixels of each confident mask;
      [B, N] int32 pixels that it gets, 0 where it is refused.
    """
    num_centers = confident.shape[1]
    layers = tf.unstack(masks, axis=-1)
    order, count = confident_in_order(rank, confident)  # the others take nothing

    def paint(
        place: tf.Tensor, canvas: tf.Tensor, mask_area: tf.Tensor, area: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        center = order[:, place]  # [B]
        chosen = (tf.range(num_centers) == center[:, tf.newaxis]) & confident  # [B, N]
        center = tf.where(tf.reduce_any(chosen, axis=1), center, -2)  # that no pixel is in
        mask = functools.reduce(tf.logical_or, [of_pixels(center) == layer for layer in layers])
        free = mask & (canvas < 0)
        areas, frees = area_of(mask), area_of(free)  # [B]
        enough = tf.cast(frees, tf.float32) > overlap_threshold * tf.cast(areas, tf.float32)
        canvas = tf.where(free & of_pixels(enough), of_pixels(center), canvas)
        frees = tf.where(enough, frees, 0)
        return (
            place + 1,
            canvas,
            tf.where(chosen, areas[:, tf.newaxis], mask_area),
            tf.where(chosen, frees[:, tf.newaxis], area),
        )

    nothing = [tf.fill(tf.shape(layers[0]), -1), tf.zeros_like(rank), tf.zeros_like(rank)]
    start = [tf.constant(0), *nothing]
    return tuple(tf.while_loop(lambda place, *_: place < count, paint, start)[1:])


def values_of(
    values: tf.Tensor, centers: tf.Tensor, images: tf.Tensor, default: float
) -> tf.Tensor:
    """Returns the value [B, N] of each of some centers, in any shape, of images; or the default."""
    places = images * values.shape[1] + tf.maximum(centers, 0)
    found = tf.gather(tf.reshape(values, [-1]), places)
    return tf.where(centers >= 0, found, tf.cast(default, values.dtype))


def _of_pixels(values: tf.Tensor) -> tf.Tensor:
    """Gives the pixels [B, H, W] what their image has [B]."""
    return values[:, tf.newaxis, tf.newaxis]


def _to_map(values: tf.Tensor, centers: tf.Tensor, default: float) -> tf.Tensor:
    """Returns [B, H, W]: of each pixel the value [B, N] of its center, or the default."""
    return values_of(values, centers, _of_pixels(tf.range(tf.shape(values)[0])), default)


def _area_of(mask: tf.Tensor) -> tf.Tensor:
    """Counts the pixels of masks [B, H, W]: [B] int32."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=[1, 2])
