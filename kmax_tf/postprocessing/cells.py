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

from kmax_tf.ops.static_shapes import static_or_dynamic_shape
from kmax_tf.postprocessing.full_size import Grid
from kmax_tf.postprocessing.merging import values_of
from kmax_tf.postprocessing.readings import Best, Threshold

# How much more than needed a probability at corners must be: far above what rounding does.
_MARGIN = 1e-3


@dataclasses.dataclass(frozen=True)
class Cells:
    """All cells of a batch, some settled and some open.

    What is known of pixels is a list of P items: first one a cell, for the settled ones, then one a
    pixel of the open ones.

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
        return cls._of(grid, tf.reshape(tf.where(same == below, same, -1), [-1]))  # [B * h * w]

    @classmethod
    def _of(cls, grid: Grid, settled: tf.Tensor) -> Cells:
        return cls(grid, settled, _where(settled < 0))

    def reopen(self, rejected: tf.Tensor) -> Cells:
        """Opens settled cells of centers [B, N] that are rejected."""
        of_cells = self.grid.image_of(tf.range(self.grid.num_cells))
        reopened = values_of(rejected, self.settled, of_cells, False)
        return self._of(self.grid, tf.where(reopened, -1, self.settled))

    def closed(self) -> tf.Tensor:
        """Returns the settled cells [S] int32."""
        return _where(self.settled >= 0)

    def items(self, of_cells: tf.Tensor, of_pixels: tf.Tensor) -> tf.Tensor:
        """Joins values of all cells [cells, ...] and of open pixels [U, S * S, ...]: [P, ...]."""
        others = static_or_dynamic_shape(of_pixels)[2:]
        flat = tf.reshape(of_pixels, [-1, *others])  # [U * S * S, ...]
        return tf.concat([of_cells, flat], axis=0)

    def images(self) -> tf.Tensor:
        """Returns [P]: the image of each item."""
        of_open = tf.repeat(self.grid.image_of(self.open), self.grid.stride**2)
        return tf.concat([self.grid.image_of(tf.range(self.grid.num_cells)), of_open], axis=0)

    def weights(self) -> tf.Tensor:
        """Returns [P] int32: how many pixels of the map each item is."""
        rows, columns = self._sides_of(tf.range(self.grid.num_cells))
        of_cells = tf.where(self.settled >= 0, rows * columns, 0)
        return self.items(of_cells, tf.cast(self._on_map(self.open), tf.int32))

    def cut(self, cells: tf.Tensor, centers: tf.Tensor) -> tf.Tensor:
        """Makes centers [C, S * S, ...] of pixels beyond the map's edge none."""
        on_map = self._on_map(cells)
        return tf.where(on_map[..., tf.newaxis] if centers.shape.rank > 2 else on_map, centers, -1)

    def spread(self, items: tf.Tensor) -> tf.Tensor:
        """Returns the map [B, H, W] of items [P]."""
        of_cells, of_pixels = items[: self.grid.num_cells], items[self.grid.num_cells :]
        of_pixels = tf.reshape(of_pixels, [-1, self.grid.stride**2])  # [U, S * S]
        values = tf.repeat(of_cells[:, tf.newaxis], self.grid.stride**2, axis=1)
        return self.grid.as_map(
            tf.tensor_scatter_nd_update(values, self.open[:, tf.newaxis], of_pixels)
        )

    def arrange(self, parts: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """Returns the map [B, H, W] of cells [C] and their pixels [C, S * S], all cells in all.

        With one axis more, so has the map.
        """
        cells, pixels = (tf.concat(values, axis=0) for values in zip(*parts))
        shape = [self.grid.num_cells, *static_or_dynamic_shape(pixels)[1:]]
        return self.grid.as_map(tf.scatter_nd(cells[:, tf.newaxis], pixels, shape))

    def _sides_of(self, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how many rows and columns of pixels cells [C] have: S, or 1 at the edge."""
        grid = self.grid
        row, column = grid.place_of(cells)
        return (
            tf.where(row < grid.height - 1, grid.stride, 1),
            tf.where(column < grid.width - 1, grid.stride, 1),
        )

    def _on_map(self, cells: tf.Tensor) -> tf.Tensor:
        """Returns [C, S * S]: which pixels of cells [C] are on the map, not beyond its edge."""
        rows, columns = self._sides_of(cells)
        steps = tf.range(self.grid.stride)
        inside = (steps < rows[:, tf.newaxis])[:, :, tf.newaxis] & (steps < columns[:, tf.newaxis])[
            :, tf.newaxis
        ]
        return tf.reshape(inside, [-1, self.grid.stride**2])  # [C, S * S]


def _where(condition: tf.Tensor) -> tf.Tensor:
    """Returns the int32 places [.] where [R] holds."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)
