"""Pixels of the full-size map by cells: the squares between neighbouring mask logits.

A cell is the S x S pixels (S: stride of the mask logits) from one mask logit to the next, to the
right and down; those of the last row and column hold the edge of the map only. Between its four
corners logits are interpolated bilinearly, with aligned corners.

Most cells are settled by their corners: interpolated logits are linear along rows and columns, the
logarithm of a sum of exponentials is convex, so the logarithm of a probability is concave and a
center with a probability above q at all four corners has one above q in the whole cell. Only the
other cells, the open ones, are interpolated.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf.ops import static_or_dynamic_shape
from kmax_tf.postprocessing.full_size import Grid
from kmax_tf.postprocessing.painting import Pixels
from kmax_tf.postprocessing.readings import Best, Threshold

# How much more than needed a probability at corners must be: far above what rounding does.
_MARGIN = 1e-3


@dataclasses.dataclass(frozen=True)
class Cells(Pixels):
    """All cells of a batch, some settled and some open.

    What is known of pixels is a list of P items: first one a cell, for the settled ones, then one a
    pixel of the open ones. `images` and `weights` are [P]; an item beyond the map's edge weighs 0.

    Attributes:
      grid: the mask logits.
      settled: [B * h * w] int32, the center that has the whole cell; -1: the cell is open.
      open: [U] int32 open cells.
    """

    grid: Grid
    settled: tf.Tensor
    open: tf.Tensor

    @classmethod
    def settle(cls, grid: Grid, corners: Best, threshold: Threshold) -> Cells:
        """Settles cells where one center is in the mask, and no other is.

        Args:
          grid: the mask logits.
          corners: [B * h * w] the best center of each mask logit.
          threshold: of probabilities of masks. A center above it and above 1 - threshold is in its
            mask, keeps all others below the threshold, and is the best: one of the two exceeds 1/2.
        """
        sure = (corners.probability > threshold + _MARGIN) & (
            corners.probability > 1 - threshold + _MARGIN
        )
        center = tf.where(sure, corners.center, -1)
        center = tf.reshape(center, [grid.batch, grid.height, grid.width])
        right = tf.concat([center[:, :, 1:], center[:, :, -1:]], axis=2)
        same = tf.where(center == right, center, -1)
        below = tf.concat([same[:, 1:], same[:, -1:]], axis=1)
        settled = tf.reshape(tf.where(same == below, same, -1), [-1])  # [B * h * w]
        open_cells = _where(settled < 0)
        image = grid.image_of(tf.range(grid.num_cells))
        of_open = tf.repeat(tf.gather(image, open_cells), grid.stride**2)
        images = tf.concat([image, of_open], axis=0)
        weights = _weights(grid, settled, open_cells)
        return cls(grid.batch, images, weights, grid, settled, open_cells)

    def area(self, where: tf.Tensor) -> tf.Tensor:
        """Counts the pixels of each image where a condition on items holds: [B] int32."""
        counts = tf.where(where, self.weights, 0)
        return tf.math.unsorted_segment_sum(counts, self.images, self.batch)

    def closed(self) -> tf.Tensor:
        """Returns the settled cells [S] int32."""
        return _where(self.settled >= 0)

    def items(self, of_cells: tf.Tensor, of_pixels: tf.Tensor) -> tf.Tensor:
        """Joins values of all cells [cells, ...] and of open pixels [U, S * S, ...]: [P, ...]."""
        others = static_or_dynamic_shape(of_pixels)[2:]
        flat = tf.reshape(of_pixels, [-1, *others])  # [U * S * S, ...]
        return tf.concat([of_cells, flat], axis=0)

    def as_map(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the map [B, H, W] of values of items [P]."""
        of_cells, of_pixels = values[: self.grid.num_cells], values[self.grid.num_cells :]
        of_pixels = tf.reshape(of_pixels, [-1, self.grid.stride**2])  # [U, S * S]
        pixels = tf.repeat(of_cells[:, tf.newaxis], self.grid.stride**2, axis=1)
        return self.grid.as_map(
            tf.tensor_scatter_nd_update(pixels, self.open[:, tf.newaxis], of_pixels)
        )

    def arrange(self, of_open: tf.Tensor, of_settled: tf.Tensor) -> tf.Tensor:
        """Returns the map [B, H, W] of the pixels of open [U, S * S] and of settled cells.

        With one axis more, so has the map.
        """
        cells = tf.concat([self.open, self.closed()], axis=0)[:, tf.newaxis]
        pixels = tf.concat([of_open, of_settled], axis=0)
        shape = [self.grid.num_cells, *static_or_dynamic_shape(pixels)[1:]]
        return self.grid.as_map(tf.scatter_nd(cells, pixels, shape))


def _weights(grid: Grid, settled: tf.Tensor, open_cells: tf.Tensor) -> tf.Tensor:
    """Returns [P] int32: how many pixels of the map each item is."""
    row, column = grid.place_of(tf.range(grid.num_cells))
    rows = tf.where(row < grid.height - 1, grid.stride, 1)
    columns = tf.where(column < grid.width - 1, grid.stride, 1)
    steps = tf.range(grid.stride)
    in_rows, in_columns = (
        steps < tf.gather(sides, open_cells)[:, tf.newaxis] for sides in (rows, columns)
    )
    on_map = in_rows[:, :, tf.newaxis] & in_columns[:, tf.newaxis]  # [U, S, S]
    of_cells = tf.where(settled >= 0, rows * columns, 0)
    return tf.concat([of_cells, tf.reshape(tf.cast(on_map, tf.int32), [-1])], axis=0)


def _where(condition: tf.Tensor) -> tf.Tensor:
    """Returns the int32 places [.] where [R] holds."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)
