"""What `merging` defines, to the last bit, in less time on CPUs: most pixels aren't interpolated.

Shapes depend on values here, so XLA can't compile it. P items are what is known of pixels: cells
with one center, and single pixels (`cells.Cells`).
"""

from __future__ import annotations

import functools

import tensorflow as tf

from kmax_tf.ops.static_shapes import static_or_dynamic_shape
from kmax_tf.postprocessing.cells import Cells
from kmax_tf.postprocessing.full_size import Grid, Read, probabilities
from kmax_tf.postprocessing.merging import (
    MaskWise,
    Merging,
    PixelWise,
    confident_in_order,
    layers_of,
    paint_in_order,
    rank_of,
    values_of,
)
from kmax_tf.postprocessing.painting import Centers, Painting
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
        return cells.spread(cells.items(cells.settled, grid.read(cells.open, read_class)))


class MaskWiseByCells(_ClassesByCells, MaskWise):
    """Paints whole masks, of settled cells and open pixels."""

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: Threshold
    ) -> Painting:
        """Ranks the masks, decides which are accepted, then lets each item choose among its own."""
        grid = Grid.of(mask_logits, stride)
        in_pairs = at_most_two(grid.num_centers, pixel_threshold)
        read = functools.partial(read_pairs if in_pairs else read_masks, threshold=pixel_threshold)
        corners = grid.read_corners(read)
        cells = Cells.settle(grid, corners.best, pixel_threshold)
        pixels = grid.read(cells.open, read)
        pixels = pixels._replace(masks=cells.cut(cells.open, pixels.masks))
        score = self.scores(centers, *self._scored(cells, corners, pixels))
        rank = rank_of(score)
        confident = self.confident(centers)
        images, weights = cells.images(), cells.weights()
        most = static_or_dynamic_shape(pixels.masks)[2]
        masks = cells.items(_alone(cells.settled, most, -1), pixels.masks)  # [P, k]
        if in_pairs:
            shared = shared_pixels(masks, weights, images, confident)
            mask_area, area = accept_in_order(shared, rank, confident, self.overlap_threshold)
        else:
            _, mask_area, area = paint_in_order(
                masks,
                rank,
                confident,
                self.overlap_threshold,
                of_pixels=lambda values: tf.gather(values, images),
                area_of=lambda mask: tf.math.unsorted_segment_sum(
                    tf.where(mask, weights, 0), images, grid.batch
                ),
            )
        painter = _first(masks, images, tf.where(area > 0, rank, grid.num_centers))
        return Painting(
            best=cells.items(cells.settled, pixels.best.center),
            painter=painter,
            scored=painter,
            to_map=functools.partial(_to_map, cells, images),
            probability=_probability(cells, pixels.best, read_largest),
            confident=confident,
            mask_area=mask_area,
            area=area,
            instance=rank + 1,
            score=score,
        )

    def _scored(
        self, cells: Cells, corners: MaskReading, pixels: MaskReading
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns masks and probabilities of the pixels that scores are of: [B, h or H, ., k]."""
        grid = cells.grid
        if not self.full_size_scores:
            shape = [grid.batch, grid.height, grid.width, -1]
            return tf.reshape(corners.masks, shape), tf.reshape(corners.probabilities, shape)
        settled = cells.closed()
        best = grid.read(settled, read_best)  # a settled cell is in one mask

        def full_size(of_open: tf.Tensor, of_settled: tf.Tensor, none: float) -> tf.Tensor:
            most = static_or_dynamic_shape(of_open)[2]
            parts = [(cells.open, of_open), (settled, _alone(of_settled, most, none))]
            return cells.arrange(parts)  # [B, H, W, k]

        return (
            full_size(pixels.masks, best.center, -1),
            full_size(pixels.probabilities, best.probability, 0.0),
        )


class PixelWiseByCells(_ClassesByCells, PixelWise):
    """Gives settled cells and open pixels their best center."""

    def paint(
        self, mask_logits: tf.Tensor, stride: int, centers: Centers, pixel_threshold: Threshold
    ) -> Painting:
        """Takes the argmax over confident centers."""
        confident = self.confident(centers)
        read = functools.partial(read_survivor, confident=confident)
        grid = Grid.of(mask_logits, stride)
        cells = Cells.settle(grid, grid.read_corners(read_best), pixel_threshold)
        # A center's probability among the confident is no less than among all.
        cells = cells.reopen(~confident)
        every, pixels = grid.read(cells.open, read)
        images = cells.images()
        best = cells.items(cells.settled, every.center)
        survivor = cells.items(cells.settled, pixels.center)
        sure = cells.items(cells.settled >= 0, pixels.probability > pixel_threshold)
        sure &= values_of(confident, best, images, False)
        painter = tf.where(sure, survivor, -1)
        ids = tf.where(sure, images * grid.num_centers + survivor, -1)
        area = tf.math.unsorted_segment_sum(cells.weights(), ids, tf.size(confident))
        area = tf.reshape(area, tf.shape(confident))  # [B, N]
        some = tf.gather(tf.reduce_any(confident, axis=1), images)
        return Painting(
            best=best,
            painter=painter,
            scored=tf.where(some, survivor, -1),
            to_map=functools.partial(_to_map, cells, images),
            probability=_probability(cells, pixels, lambda *of: read(*of)[1].probability),
            confident=confident,
            mask_area=area,
            area=area,
            instance=self.instances(centers),
            score=centers.confidence,
        )


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
    inside = best.probability > threshold
    places = tf.where(inside & (best.probability <= 1 - threshold + ROUNDING))
    contested, first = (tf.gather(x, places[:, 0]) for x in (probability, best.center))
    second, value = runner_up(contested, first)
    value = tf.where(value > threshold, value, 0.0)
    none = tf.fill(tf.shape(best.center), -1)
    second = tf.tensor_scatter_nd_update(none, places, tf.where(value > 0, second, -1))
    value = tf.scatter_nd(places, value, tf.shape(best.center, tf.int64))
    return MaskReading(
        best,
        tf.stack([tf.where(inside, best.center, -1), second], axis=1),
        tf.stack([tf.where(inside, best.probability, 0.0), value], axis=1),
    )


def shared_pixels(
    masks: tf.Tensor, weights: tf.Tensor, images: tf.Tensor, confident: tf.Tensor
) -> tf.Tensor:
    """Returns [B, N, N + 1] int32: pixels that are in the mask of a center and of another.

    Args:
      masks: [P, 2] centers whose masks an item is in, -1 for none; none is last.
      weights: [P] int32, how many pixels an item is.
      images: [P] int32, of which image.
      confident: [B, N], for its shape.

    Returns:
      For each center, how many are in its mask only, then in its own and that of each center.
    """
    num_centers = confident.shape[1]
    first, second = tf.unstack(masks, axis=1)
    pairs = (images * num_centers + first) * (num_centers + 1) + second + 1
    table = tf.math.unsorted_segment_sum(
        weights, tf.where(first >= 0, pairs, -1), tf.size(confident) * (num_centers + 1)
    )
    table = tf.reshape(table, [-1, num_centers, num_centers + 1])
    both = table[:, :, 1:] + tf.transpose(table[:, :, 1:], [0, 2, 1])  # [B, N, N]
    return tf.concat([table[:, :, :1], both], axis=2)


def accept_in_order(
    shared: tf.Tensor, rank: tf.Tensor, confident: tf.Tensor, overlap_threshold: Threshold
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does what `merging.paint_in_order` does without looking at pixels, but for the canvas.

    The pixels of a mask that others have taken are those that it shares with each of them: no pixel
    is in three.
    """
    num_centers = confident.shape[1]
    mask_area = tf.reduce_sum(shared, axis=2)  # [B, N]
    order, count = confident_in_order(rank, confident)

    def accept(place: tf.Tensor, areas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        center = order[:, place]  # [B]
        with_each = tf.gather(shared, center, batch_dims=1)[:, 1:]  # [B, N]
        taken = tf.reduce_sum(tf.where(areas > 0, with_each, 0), axis=1)  # [B]
        area = tf.gather(mask_area, center, batch_dims=1)
        free = area - taken
        enough = tf.cast(free, tf.float32) > overlap_threshold * tf.cast(area, tf.float32)
        chosen = (tf.range(num_centers) == center[:, tf.newaxis]) & confident
        return place + 1, tf.where(chosen & enough[:, tf.newaxis], free[:, tf.newaxis], areas)

    start = [tf.constant(0), tf.zeros_like(mask_area)]
    areas = tf.while_loop(lambda place, _: place < count, accept, start)[1]
    return tf.where(confident, mask_area, 0), areas


def _first(masks: tf.Tensor, images: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns [P]: of each item's masks [P, k] the one with the first place [B, N] below N."""
    none = place.shape[1]
    layers = layers_of(masks)
    places = values_of(place, layers, images, none)  # [k, P]
    first = tf.reduce_min(places, axis=0)
    # No two centers have a place below N in common.
    return tf.reduce_max(tf.where((places == first) & (places < none), layers, -1), axis=0)


def _alone(values: tf.Tensor, most: int | tf.Tensor, none: float) -> tf.Tensor:
    """Returns [..., k]: each value [...], which has no others beside it."""
    paddings = [[0, 0]] * values.shape.rank + [[0, most - 1]]
    return tf.pad(values[..., tf.newaxis], paddings, constant_values=none)


def _to_map(
    cells: Cells, images: tf.Tensor, values: tf.Tensor, centers: tf.Tensor, default: float
) -> tf.Tensor:
    """Returns [B, H, W]: of each pixel the value [B, N] of its item's center, or the default."""
    return cells.spread(values_of(values, centers, images, default))


def _probability(cells: Cells, pixels: Best, read: Read) -> tf.Tensor:
    """Returns [B, H, W] the largest probabilities, now of settled cells too."""
    settled = cells.closed()
    of_settled = cells.grid.read(settled, read)
    return cells.arrange([(cells.open, pixels.probability), (settled, of_settled)])
