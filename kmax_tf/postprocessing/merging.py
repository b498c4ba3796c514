"""How masks are merged: what is read of each pixel, and which center paints it.

Everything here is batched, of static shapes and in float32. N cluster centers, K classes without
void; H x W is the size of the network's input.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import tensorflow as tf

from kmax_tf.postprocessing.tiles import map_tiles

REJECTED_LOGIT = -99999.0


class Centers(NamedTuple):
    """What the network says of each cluster center.

    Attributes:
      confidence: [B, N] probability of the best class that is not void.
      class_index: [B, N] int32, that class.
    """

    confidence: tf.Tensor
    class_index: tf.Tensor


class Painting(NamedTuple):
    """Which center a pixel belongs to.

    Attributes:
      best: [B, H, W] int32 center with the largest logit, whatever its class.
      center: [B, H, W] int32; -1 for none.
      area_of_center: [B, N] int32 pixels that it painted.
      instance_of_center: [B, N] int32 instance id (1..) that a thing of this center gets.
      score_of_center: [B, N] what centers were ranked by.
      semantic_scores: [B, H, W] class confidence of the pixel's center.
      instance_scores: [B, H, W] mask probability; 0 where no center is confident in the image.
    """

    best: tf.Tensor
    center: tf.Tensor
    area_of_center: tf.Tensor
    instance_of_center: tf.Tensor
    score_of_center: tf.Tensor
    semantic_scores: tf.Tensor
    instance_scores: tf.Tensor


class Merging(Protocol):
    """A way to paint pixels with centers."""

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
    ) -> Painting:
        """Assigns pixels to centers.

        Args:
          mask_logits: [B, h, w, N] float32, as predicted.
          stride: of the mask logits.
          centers: of this batch.
          pixel_threshold: least probability of a pixel in a mask.
        """


@dataclasses.dataclass(frozen=True)
class MaskWise:
    """Paints whole masks, best first, each where the canvas is still free.

    Ties in rank keep the order of the centers. A mask is refused, and takes no space, if its class
    confidence is below the threshold of its class or too little of it is still free.

    Attributes:
      class_thresholds: least class confidence, of each class.
      overlap_threshold: share of the mask that must exceed this and still be free.
      class_weight, mask_weight: exponents of class confidence and mask score in the rank.
    """

    class_thresholds: tuple[float, ...]
    overlap_threshold: float = 0.5
    class_weight: float = 1.0
    mask_weight: float = 0.0

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
    ) -> Painting:
        """Decides which masks are accepted, then lets each pixel choose among its own."""
        score = self._score(mask_logits, centers.confidence, pixel_threshold)
        order = tf.argsort(score, direction="DESCENDING", stable=True)  # [B, N] center of each rank
        threshold = tf.gather(tf.constant(self.class_thresholds), centers.class_index)
        confident = centers.confidence >= threshold  # [B, N]

        best, probability, members = map_tiles(
            mask_logits,
            stride,
            lambda logits: _best_and_members(logits, pixel_threshold),
            (tf.int32, tf.float32, tf.int32),
        )
        accept = _accept_by_pairs if members.shape[3] <= 2 else _accept_by_pixels
        areas = accept(
            members, order, tf.gather(confident, order, batch_dims=1), self.overlap_threshold
        )  # [B, N] of each rank, 0 where refused

        num_centers = mask_logits.shape[3]
        ranks = tf.range(num_centers)
        rank_of_center = tf.argsort(order)  # the inverse permutation
        place = tf.where(areas > 0, ranks, num_centers)  # of each rank, last where refused
        place_of_center = tf.gather(place, rank_of_center, batch_dims=1)
        first = tf.reduce_min(lookup(place_of_center, members, num_centers), axis=-1)  # [B, H, W]
        center_of_place = tf.pad(order, [[0, 0], [0, 1]], constant_values=-1)
        center = tf.gather(center_of_place, first, batch_dims=1)
        return Painting(
            best,
            center,
            area_of_center=tf.gather(areas, rank_of_center, batch_dims=1),
            instance_of_center=rank_of_center + 1,
            score_of_center=score,
            semantic_scores=lookup(centers.confidence, center, 0.0),
            instance_scores=_where_any(confident, probability),
        )

    def _score(
        self, mask_logits: tf.Tensor, confidence: tf.Tensor, pixel_threshold: float
    ) -> tf.Tensor:
        """Returns [B, N]: what masks are ranked by, from their pixels as predicted."""
        small = tf.nn.softmax(mask_logits)
        inside = tf.cast(small > pixel_threshold, tf.float32)
        mask_score = tf.math.divide_no_nan(
            tf.reduce_sum(small * inside, axis=[1, 2]), tf.reduce_sum(inside, axis=[1, 2])
        )
        return confidence**self.class_weight * mask_score**self.mask_weight


@dataclasses.dataclass(frozen=True)
class PixelWise:
    """Gives each pixel its best center, if that is confident of a class.

    Attributes:
      class_thresholds: least class confidence, of each class.
    """

    class_thresholds: tuple[float, ...]

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: float
    ) -> Painting:
        """Takes the argmax over confident centers."""
        threshold = tf.gather(tf.constant(self.class_thresholds), centers.class_index)
        survives = centers.confidence >= threshold  # [B, N]

        def read(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            surviving = tf.where(survives[:, tf.newaxis, tf.newaxis], logits, REJECTED_LOGIT)
            return (
                _argmax(logits),
                _argmax(surviving),
                tf.reduce_max(tf.nn.softmax(surviving), axis=-1),
            )

        best, survivor, probability = map_tiles(
            mask_logits, stride, read, (tf.int32, tf.int32, tf.float32)
        )
        best_survives = tf.gather(survives, best, batch_dims=1)
        center = tf.where((probability > pixel_threshold) & best_survives, survivor, -1)
        num_centers = mask_logits.shape[3]
        return Painting(
            best,
            center,
            area_of_center=_histogram(center, num_centers),
            instance_of_center=tf.ones_like(centers.class_index) * tf.range(1, num_centers + 1),
            score_of_center=centers.confidence,
            semantic_scores=_where_any(survives, lookup(centers.confidence, survivor, 0.0)),
            instance_scores=_where_any(survives, probability),
        )


def lookup(values: tf.Tensor, center: tf.Tensor, default: float) -> tf.Tensor:
    """Returns [B, ...]: the value [B, N] of each center [B, ...], or the default where it is -1."""
    found = tf.gather(values, tf.maximum(center, 0), batch_dims=1)
    return tf.where(center >= 0, found, tf.cast(default, values.dtype))


def _best_and_members(
    logits: tf.Tensor, pixel_threshold: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads off which masks a pixel is in.

    Args:
      logits: [B, rows, W, N].
      pixel_threshold: a pixel is in the masks whose probability exceeds it.

    Returns:
      The center with the largest logit [B, rows, W], its probability, and all masks that the pixel
      is in [B, rows, W, k], -1 where there are fewer. Probabilities add up to 1, so they are fewer
      than 1 / pixel_threshold: two at most for thresholds above 1/3.
    """
    probability = tf.nn.softmax(logits)
    best = _argmax(logits)
    largest = tf.reduce_max(probability, axis=-1)
    num_centers = logits.shape[3]
    # Rounding may make three of 1/3 exceed it.
    if pixel_threshold < 1 / 3 + 1e-6:
        most = min(num_centers, int(1 / max(pixel_threshold - 1e-6, 1e-6)))
        values, indices = tf.math.top_k(probability, most)
        return best, largest, tf.where(values > pixel_threshold, indices, -1)
    # The number of masks and the sum of their centers tell the second, without sorting. Both are
    # exact in any precision that an accelerator may choose for products, up to 256 centers.
    inside = tf.cast(probability > pixel_threshold, tf.float32)
    centers = tf.range(num_centers, dtype=tf.float32)
    columns = tf.stack([tf.ones_like(centers), centers], axis=1)  # [N, 2]
    count_and_sum = tf.tensordot(inside, columns, axes=1)  # [B, rows, W, 2]
    count, total = tf.unstack(tf.cast(count_and_sum, tf.int32), axis=-1)
    first = tf.where(count >= 1, best, -1)
    second = tf.where(count == 2, total - best, -1)
    return best, largest, tf.stack([first, second], axis=-1)


def _accept_by_pairs(
    members: tf.Tensor, order: tf.Tensor, confident: tf.Tensor, overlap_threshold: float
) -> tf.Tensor:
    """Decides which masks are accepted, where pixels are in two at most.

    Then the pixels of a mask that others have taken are those that it shares with each of them, and
    a table of the pixels that pairs share is all that has to be known.

    Args:
      members: [B, H, W, 2] int32 centers, -1 for none; the second only beside a first.
      order: [B, N] center of each rank.
      confident: [B, N] whether the center of each rank is.
      overlap_threshold: share of a mask that must be exceeded.

    Returns:
      [B, N] int32: pixels that the mask of each rank gets; 0 where it is refused.
    """
    batch, num_centers = tf.shape(order)[0], order.shape[1]
    first, second = tf.unstack(members, axis=-1)
    pairs = tf.where(first >= 0, first * (num_centers + 1) + second + 1, -1)
    table = _histogram(pairs, num_centers * (num_centers + 1))
    table = tf.reshape(table, [batch, num_centers, num_centers + 1])
    shared = table[:, :, 1:] + tf.transpose(table[:, :, 1:], [0, 2, 1])  # [B, N, N]
    area = table[:, :, 0] + tf.reduce_sum(shared, axis=2)  # [B, N]
    # From here on, all by rank.
    area = tf.gather(area, order, batch_dims=1)
    shared = tf.gather(tf.gather(shared, order, batch_dims=1), order, axis=2, batch_dims=1)

    def accept(rank: tf.Tensor, areas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        taken = tf.reduce_sum(tf.where(areas > 0, shared[:, rank], 0), axis=1)  # [B]
        free = area[:, rank] - taken
        enough = tf.cast(free, tf.float32) > overlap_threshold * tf.cast(area[:, rank], tf.float32)
        gets = tf.where(enough & confident[:, rank], free, 0)
        return rank + 1, tf.where(tf.range(num_centers) == rank, gets[:, tf.newaxis], areas)

    return _by_rank(accept, confident)


def _accept_by_pixels(
    members: tf.Tensor, order: tf.Tensor, confident: tf.Tensor, overlap_threshold: float
) -> tf.Tensor:
    """Decides the same for any number of masks a pixel, [B, H, W, k], by painting them."""
    num_centers = order.shape[1]
    canvas = tf.zeros(tf.shape(members)[:3], tf.bool)

    def accept(
        rank: tf.Tensor, areas: tf.Tensor, canvas: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        center = order[:, rank][:, tf.newaxis, tf.newaxis, tf.newaxis]
        mask = tf.reduce_any(members == center, axis=3)  # [B, H, W]
        free = mask & ~canvas
        area, free_area = (
            tf.math.count_nonzero(x, axis=[1, 2], dtype=tf.int32) for x in (mask, free)
        )
        enough = tf.cast(free_area, tf.float32) > overlap_threshold * tf.cast(area, tf.float32)
        gets = tf.where(enough & confident[:, rank], free_area, 0)
        canvas |= free & (gets > 0)[:, tf.newaxis, tf.newaxis]
        areas = tf.where(tf.range(num_centers) == rank, gets[:, tf.newaxis], areas)
        return rank + 1, areas, canvas

    return _by_rank(accept, confident, canvas)


def _by_rank(accept, confident: tf.Tensor, *state: tf.Tensor) -> tf.Tensor:
    """Goes from the best mask to the worst that is confident in any image of the batch."""
    ranks = tf.range(confident.shape[1])
    last = tf.reduce_max(tf.where(confident, ranks, -1))
    areas = tf.zeros_like(confident, tf.int32)
    return tf.while_loop(lambda rank, *_: rank <= last, accept, [tf.constant(0), areas, *state])[1]


def _histogram(values: tf.Tensor, size: int) -> tf.Tensor:
    """Returns [B, size] int32: how often each number is among [B, H, W]; -1 isn't counted."""
    batch = tf.shape(values)[0]
    offsets = tf.range(batch)[:, tf.newaxis, tf.newaxis] * size
    bins = tf.reshape(tf.where(values >= 0, values + offsets, -1), [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, batch * size)
    return tf.reshape(counts, [batch, size])


def _argmax(logits: tf.Tensor) -> tf.Tensor:
    """Returns the index of the largest, the first of equals."""
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def _where_any(confident: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Returns the scores [B, H, W], 0 in images without any confident [B, N] center."""
    some = tf.reduce_any(confident, axis=1)[:, tf.newaxis, tf.newaxis]
    return tf.where(some, scores, 0.0)
