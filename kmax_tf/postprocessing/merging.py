"""How masks are merged: which center paints each pixel.

Everything here is batched and in float32. B images, N cluster centers, K classes without void;
H x W is the size of the network's input. P items are pixels, or cells of pixels that have one value
(`cells.Cells`); their centers are image * N + center, -1 for none.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple, Protocol

import tensorflow as tf

from kmax_tf.postprocessing.acceptance import Members, accept
from kmax_tf.postprocessing.cells import Best, Cells, MaskGrid
from kmax_tf.postprocessing.readings import (
    BEST,
    MaskReading,
    mask_reader,
    read_best,
    read_largest,
)

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
      cells: what the items are.
      best: [P] center with the largest logit, whatever its class; -1 where logits aren't finite.
      center: [P] the one that painted.
      scored: [P] the one whose confidence is the semantic score.
      confident: [B, N] which centers pass the threshold of their class.
      mask_area: [B, N] int32 pixels of each confident mask.
      area: [B, N] int32 pixels that a center painted.
      instance: [B, N] int32 instance id (1..) that a thing of this center gets.
      score: [B, N] what centers were ranked by.
      probability: makes [B, H, W], the largest mask probability of each pixel; a function, since
        nothing else needs it of pixels in settled cells.
    """

    cells: Cells
    best: tf.Tensor
    center: tf.Tensor
    scored: tf.Tensor
    confident: tf.Tensor
    mask_area: tf.Tensor
    area: tf.Tensor
    instance: tf.Tensor
    score: tf.Tensor
    probability: Callable[[], tf.Tensor]


class Merging(Protocol):
    """A way to paint pixels with centers."""

    def paint(self, grid: MaskGrid, centers: Centers, pixel_threshold: float) -> Painting:
        """Assigns pixels to centers.

        Args:
          grid: the mask logits as predicted.
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
      full_size_scores: whether the mask score is the mean over pixels of the full size, not over
        those of the mask logits.
    """

    class_thresholds: tuple[float, ...]
    overlap_threshold: float = 0.5
    class_weight: float = 1.0
    mask_weight: float = 0.0
    full_size_scores: bool = False

    def paint(self, grid: MaskGrid, centers: Centers, pixel_threshold: float) -> Painting:
        """Decides which masks are accepted, then lets each pixel choose among its own."""
        read, signature = mask_reader(grid, pixel_threshold)
        corners = grid.at_corners(read, signature)
        cells = Cells.settle(grid, corners.best, pixel_threshold)
        pixels = cells.read(cells.open, read, signature)
        pixels = pixels._replace(members=cells.cut(cells.open, pixels.members))
        score = self._score(cells, corners, pixels, centers)
        order = tf.argsort(score, direction="DESCENDING", stable=True)  # [B, N] center of each rank
        rank = tf.argsort(order)  # [B, N] the inverse permutation
        confident = _passes(centers, self.class_thresholds)
        no_second = tf.fill([grid.num_cells, pixels.members.shape[2] - 1], -1)
        of_cells = tf.concat([cells.settled[:, tf.newaxis], no_second], axis=1)
        members = Members(cells.items(of_cells, pixels.members), cells.weights(), cells.images())
        mask_area, area = accept(members, order, confident, self.overlap_threshold)
        center = _first(members.centers, tf.where(area > 0, rank, order.shape[1]))
        return Painting(
            cells,
            best=cells.items(cells.settled, pixels.best.center),
            center=center,
            scored=center,
            confident=confident,
            mask_area=mask_area,
            area=area,
            instance=rank + 1,
            score=score,
            probability=lambda: _full_probability(cells, pixels.best, read_largest),
        )

    def _score(
        self, cells: Cells, corners: MaskReading, pixels: MaskReading, centers: Centers
    ) -> tf.Tensor:
        """Returns [B, N]: what masks are ranked by."""
        grid = cells.grid
        if not self.full_size_scores:
            parts = [(tf.range(grid.num_cells), corners.members, corners.probabilities)]
        else:
            parts = [_of_pixels(cells.open, pixels.members, pixels.probabilities)]
            settled = cells.closed()
            if settled is not None:
                best = cells.read(settled, read_best, BEST)
                member = cells.cut(settled, best.center)[..., tf.newaxis]  # [., S * S, 1]
                parts.append(_of_pixels(settled, member, best.probability[..., tf.newaxis]))
        mask_score = tf.reshape(_means(grid, parts), tf.shape(centers.confidence))  # [B, N]
        return centers.confidence**self.class_weight * mask_score**self.mask_weight


@dataclasses.dataclass(frozen=True)
class PixelWise:
    """Gives each pixel its best center, if that is confident of a class.

    Attributes:
      class_thresholds: least class confidence, of each class.
    """

    class_thresholds: tuple[float, ...]

    def paint(self, grid: MaskGrid, centers: Centers, pixel_threshold: float) -> Painting:
        """Takes the argmax over confident centers."""
        survives = _passes(centers, self.class_thresholds)  # [B, N]

        def read(logits: tf.Tensor, image: tf.Tensor) -> Best:
            surviving = tf.where(tf.gather(survives, image), logits, REJECTED_LOGIT)
            return read_best(surviving, image)

        def read_surviving(logits: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
            return read(logits, image).probability

        def read_both(logits: tf.Tensor, image: tf.Tensor) -> tuple[Best, Best]:
            return read_best(logits, image), read(logits, image)

        cells = Cells.settle(grid, grid.at_corners(read_best, BEST), pixel_threshold)
        # A center's probability among the surviving is no less than among all.
        cells = cells.reopen(~survives)
        every, pixels = cells.read(cells.open, read_both, (BEST, BEST))
        best = cells.items(cells.settled, every.center)
        survivor = cells.items(cells.settled, pixels.center)
        sure = cells.items(cells.settled >= 0, pixels.probability > pixel_threshold)
        center = tf.where(sure & lookup(survives, best, False), survivor, -1)
        area = tf.math.unsorted_segment_sum(cells.weights(), center, tf.size(survives))
        area = tf.reshape(area, tf.shape(survives))  # [B, N]
        some = tf.gather(tf.reduce_any(survives, axis=1), cells.images())
        return Painting(
            cells,
            best=best,
            center=center,
            scored=tf.where(some, survivor, -1),
            confident=survives,
            mask_area=area,
            area=area,
            instance=tf.ones_like(centers.class_index) * tf.range(1, grid.num_centers + 1),
            score=centers.confidence,
            probability=lambda: _full_probability(cells, pixels, read_surviving),
        )


def lookup(values: tf.Tensor, center: tf.Tensor, default: float) -> tf.Tensor:
    """Returns [P, ...]: the value [B, N] of each center [P, ...], or the default for none."""
    found = tf.gather(tf.reshape(values, [-1]), tf.maximum(center, 0))
    return tf.where(center >= 0, found, tf.cast(default, values.dtype))


def _full_probability(cells: Cells, pixels: Best, read: Callable) -> tf.Tensor:
    """Returns [B, H, W] the largest probabilities, now of settled cells too."""
    settled = cells.closed()
    if settled is None:
        return cells.arrange([(cells.open, pixels.probability)])
    of_settled = cells.read(settled, read, tf.TensorSpec([], tf.float32))
    return cells.arrange([(cells.open, pixels.probability), (settled, of_settled)])


def _passes(centers: Centers, thresholds: tuple[float, ...]) -> tf.Tensor:
    """Returns [B, N]: which centers are confident of their class."""
    return centers.confidence >= tf.gather(tf.constant(thresholds), centers.class_index)


def _first(members: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns [P]: of each pixel's masks [P, k] the one with the first place [B, N] below N."""
    none = place.shape[1]
    best, best_place = tf.fill(tf.shape(members)[:1], -1), tf.fill(tf.shape(members)[:1], none)
    for member in tf.unstack(members, axis=1):
        its_place = lookup(place, member, none)
        earlier = its_place < best_place
        best, best_place = tf.where(earlier, member, best), tf.minimum(its_place, best_place)
    return best


_Part = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # cells [Q], members [Q, k], probabilities [Q, k]


def _of_pixels(cells: tf.Tensor, members: tf.Tensor, probabilities: tf.Tensor) -> _Part:
    """Flattens what pixels of cells [C] have: members and probabilities [C, S * S, k]."""
    pixels, most = members.shape[1:]
    flat = [tf.reshape(values, [-1, most]) for values in (members, probabilities)]  # [Q, k]
    return (tf.repeat(cells, pixels), *flat)


def _means(grid: MaskGrid, parts: list[_Part]) -> tf.Tensor:
    """Returns [B * N]: the mean probability of each mask; 0 of an empty one.

    Each row of the image is summed first, for float32 to be exact enough.
    """
    sums, counts = 0.0, 0.0
    size = grid.batch * grid.height * grid.num_centers
    for cells, members, probabilities in parts:
        row = (cells // grid.width)[:, tf.newaxis]
        ids = tf.where(members >= 0, row * grid.num_centers + members % grid.num_centers, -1)
        sums += tf.math.unsorted_segment_sum(probabilities, ids, size)
        counts += tf.math.unsorted_segment_sum(tf.ones_like(probabilities), ids, size)
    by_row = [grid.batch, grid.height, grid.num_centers]
    sums, counts = (tf.reduce_sum(tf.reshape(x, by_row), axis=1) for x in (sums, counts))
    return tf.math.divide_no_nan(sums, counts)
