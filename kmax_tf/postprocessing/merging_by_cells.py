"""What `merging` defines, to the last bit, in less time on CPUs: most pixels aren't interpolated.

Shapes depend on values here, so XLA can't compile it. P items are what is known of pixels: cells
with one center, and single pixels (`cells.Cells`).
"""

from __future__ import annotations

import functools

import tensorflow as tf

from kmax_tf.ops import static_or_dynamic_shape
from kmax_tf.postprocessing.cells import Cells
from kmax_tf.postprocessing.full_size import Grid, Read, probabilities
from kmax_tf.postprocessing.merging import MaskWise, Merging, PixelWise, confident_in_order
from kmax_tf.postprocessing.painting import Pixels
from kmax_tf.postprocessing.readings import (
    ROUNDING,
    Best,
    MaskReading,
    Threshold,
    at_most_two,
    best_of,
    read_class,
    read_masks,
    read_survivor,
    runner_up,
    within,
)


class _ClassesByCells(Merging):
    """Reads classes by cells: settled is one where a class has more than half at all corners."""

    def best_classes(self, class_maps: tf.Tensor, stride: int) -> tf.Tensor:
        """Finds the most probable class of each pixel, as in `Merging`."""
        grid = Grid.of(class_maps, stride)

        def read(class_probabilities: tf.Tensor, image: tf.Tensor) -> Best:
            best = read_class(class_probabilities, image)
            return Best(best, tf.reduce_max(class_probabilities, axis=1))

        cells = Cells.settle(grid, grid.read_corners(read), 0.5)
        return cells.as_map(cells.items(cells.settled, grid.read(cells.open, read_class)))


class MaskWiseByCells(_ClassesByCells, MaskWise):
    """Paints whole masks, of settled cells and open pixels."""

    def _read(
        self, mask_logits: tf.Tensor, stride: int, pixel_threshold: Threshold
    ) -> tuple[Pixels, MaskReading, MaskReading]:
        """Reads the corners of cells, and the pixels of those that these don't settle."""
        grid = Grid.of(mask_logits, stride)
        in_pairs = at_most_two(grid.num_centers, pixel_threshold)
        read = functools.partial(read_pairs if in_pairs else read_masks, threshold=pixel_threshold)
        corners = grid.read_corners(read)
        cells = Cells.settle(grid, corners.best, pixel_threshold)
        of_open = grid.read(cells.open, read)
        of_cells = _alone(cells.settled, of_open.masks, -1)
        reading = MaskReading(
            Best(
                cells.items(cells.settled, of_open.best.center),
                _probability(cells, of_open.best, read_largest),
            ),
            cells.items(of_cells, of_open.masks),  # [P, L]
            of_open.probabilities,
        )
        if self.full_size_scores:
            return cells, reading, _full_size(cells, of_open)
        shape = [grid.batch, grid.height, grid.width, -1]
        masks, values = (tf.reshape(x, shape) for x in (corners.masks, corners.probabilities))
        return cells, reading, MaskReading(corners.best, masks, values)

    def _paint_in_order(
        self, pixels: Pixels, masks: tf.Tensor, rank: tf.Tensor, confident: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Where no pixel is in three masks, decides which are accepted, and paints all at once.

        The pixels of a mask that others have taken are those that it shares with each of them.
        """
        if masks.shape[1] != 2:
            return super()._paint_in_order(pixels, masks, rank, confident)
        shared = shared_pixels(pixels, masks, rank.shape[1])
        mask_area = tf.reduce_sum(shared, axis=2)  # [B, N]
        order, count = confident_in_order(rank, confident)

        def accept(place: tf.Tensor, areas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            center = order[:, place]  # [B]
            is_center = tf.range(rank.shape[1]) == center[:, tf.newaxis]  # [B, N]
            some = tf.maximum(center, 0)
            with_each = tf.gather(shared, some, batch_dims=1)[:, 1:]  # [B, N]
            taken = tf.reduce_sum(tf.where(areas > 0, with_each, 0), axis=1)  # [B]
            mask_size = tf.gather(mask_area, some, batch_dims=1)
            painted = self.painted_size(mask_size - taken, mask_size)
            return place + 1, tf.where(is_center, painted[:, tf.newaxis], areas)

        start = [tf.constant(0), tf.zeros_like(mask_area)]
        area = tf.while_loop(lambda place, _: place < count, accept, start)[1]
        painter = _first(pixels, masks, tf.where(area > 0, rank, rank.shape[1]))
        return painter, tf.where(confident, mask_area, 0), area


class PixelWiseByCells(_ClassesByCells, PixelWise):
    """Gives settled cells and open pixels their best center."""

    def _read(
        self, mask_logits: tf.Tensor, stride: int, confident: tf.Tensor, pixel_threshold: Threshold
    ) -> tuple[Pixels, tf.Tensor, Best, tf.Tensor]:
        """Reads the corners of cells, and the pixels of those that these don't settle."""
        grid = Grid.of(mask_logits, stride)
        read = functools.partial(read_survivor, confident=confident)

        def read_confident(logits: tf.Tensor, image: tf.Tensor) -> Best:
            best = read_best(logits, image)
            places = tf.stack([image, tf.maximum(best.center, 0)], axis=1)
            sure = tf.gather_nd(confident, places)
            return best._replace(probability=tf.where(sure, best.probability, 0.0))

        # A center's probability among the confident is no less than among all.
        cells = Cells.settle(grid, grid.read_corners(read_confident), pixel_threshold)
        best, of_open = grid.read(cells.open, read)
        sure = tf.fill(tf.shape(cells.settled), 1.0)
        survivor = Best(
            cells.items(cells.settled, of_open.center), cells.items(sure, of_open.probability)
        )
        probability = _probability(cells, of_open, lambda *of: read(*of)[1].probability)
        return cells, cells.items(cells.settled, best.center), survivor, probability


def read_best(logits: tf.Tensor, image: tf.Tensor) -> Best:
    """Reads the best center of pixels [C, N]."""
    del image
    return best_of(logits, probabilities(logits))


def read_largest(logits: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Reads the largest probability of pixels [C, N], whose logits are finite."""
    del image
    return tf.reduce_max(probabilities(logits), axis=1)


def read_pairs(logits: tf.Tensor, image: tf.Tensor, threshold: float) -> MaskReading:
    """Reads which masks pixels [C, N] are in, where these are two at most.

    The second needs a look where it may exceed the threshold beside the first: at few pixels.
    """
    del image
    probability = probabilities(logits)
    best = best_of(logits, probability)
    first = within(best, threshold)
    contested = (first.center >= 0) & (best.probability <= 1 - threshold + ROUNDING)
    places = tf.where(contested)
    of_contested, its_best = (tf.gather(x, places[:, 0]) for x in (probability, best.center))
    second = within(runner_up(of_contested, its_best), threshold)
    none = tf.fill(tf.shape(best.center), -1)
    seconds = tf.tensor_scatter_nd_update(none, places, second.center)
    values = tf.scatter_nd(places, second.probability, tf.shape(best.center, tf.int64))
    return MaskReading(
        best,
        tf.stack([first.center, seconds], axis=1),
        tf.stack([first.probability, values], axis=1),
    )


def shared_pixels(pixels: Pixels, masks: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Counts the pixels that are in the mask of a center and of another.

    Args:
      pixels: P items.
      masks: [P, 2] centers whose masks an item is in, -1 for none; none is last.
      num_centers: N.

    Returns:
      [B, N, N + 1] int32: for each center, how many are in its mask only, then in its own and that
      of each center.
    """
    first, second = tf.unstack(masks, axis=1)
    pairs = tf.where(first >= 0, first * (num_centers + 1) + second + 1, -1)
    table = pixels.areas(pairs, num_centers * (num_centers + 1))
    table = tf.reshape(table, [-1, num_centers, num_centers + 1])
    both = table[:, :, 1:] + tf.transpose(table[:, :, 1:], [0, 2, 1])  # [B, N, N]
    return tf.concat([table[:, :, :1], both], axis=2)


def _first(pixels: Pixels, masks: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns [P]: of each item's masks [P, L] the one with the first place [B, N] below N."""
    none = place.shape[1]
    best, best_place = tf.fill(tf.shape(masks)[:1], -1), tf.fill(tf.shape(masks)[:1], none)
    for mask in tf.unstack(masks, axis=1):
        its_place = pixels.of_centers(place, mask, none)
        best = tf.where(its_place < best_place, mask, best)
        best_place = tf.minimum(its_place, best_place)
    return best


def _probability(cells: Cells, of_open: Best, read: Read) -> tf.Tensor:
    """Returns [B, H, W] the largest probabilities, now of settled cells too."""
    return cells.arrange(of_open.probability, cells.grid.read(cells.closed(), read))


def _full_size(cells: Cells, of_open: MaskReading) -> MaskReading:
    """Returns masks and their probabilities as maps [B, H, W, L], now of settled cells too."""
    best = cells.grid.read(cells.closed(), read_best)  # a settled cell is in one mask
    masks = _alone(best.center, of_open.masks, -1)
    values = _alone(best.probability, of_open.probabilities, 0.0)
    return MaskReading(
        best,
        cells.arrange(of_open.masks, masks),
        cells.arrange(of_open.probabilities, values),
    )


def _alone(values: tf.Tensor, like: tf.Tensor, none: float) -> tf.Tensor:
    """Returns values [...] as [..., L], as others are, with none beside them."""
    missing = static_or_dynamic_shape(like)[2] - 1
    paddings = [[0, 0]] * values.shape.rank + [[0, missing]]
    return tf.pad(values[..., tf.newaxis], paddings, constant_values=none)
