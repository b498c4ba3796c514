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
from typing import Any, Callable, NamedTuple, Optional, Union

import tensorflow as tf

Size = Union[int, tf.Tensor]

# Mask logits that are read at once: enough for an operation to be worth its start, little memory.
_LOGITS_AT_ONCE = 16384
# And cells, of which each is S * S pixels.
_CELLS_AT_ONCE = 4096
# Stands for minus infinity, of which interpolation would make NaN.
_LOWEST = -1e30
# How much more than needed a probability at corners must be: far above what rounding does.
_MARGIN = 1e-3


class Best(NamedTuple):
    """The best center of C pixels, whatever its class.

    Attributes:
      center: [C] int32 with the largest logit, the first of equals; -1 where a logit isn't finite.
      probability: [C] its probability; 0 there.
    """

    center: tf.Tensor
    probability: tf.Tensor


@dataclasses.dataclass(frozen=True)
class MaskGrid:
    """Mask logits as a list, and where they are.

    Attributes:
      logits: [B * h * w, N] float32.
      batch, height, width: of the mask logits; numbers where they are known.
      stride: pixels from one to the next.
      static: whether every shape must be known (XLA): all cells are open then.
    """

    logits: tf.Tensor
    batch: Size
    height: Size
    width: Size
    stride: int
    static: bool

    @classmethod
    def of(cls, mask_logits: tf.Tensor, stride: int, static: bool) -> MaskGrid:
        """Makes the grid of mask logits [B, h, w, N]."""
        dynamic = tf.shape(mask_logits)
        batch, height, width = (
            dynamic[axis] if side is None else side
            for axis, side in enumerate(mask_logits.shape[:3])
        )
        logits = tf.reshape(mask_logits, [-1, mask_logits.shape[3]])  # [B * h * w, N]
        return cls(logits, batch, height, width, stride, static)

    @property
    def num_centers(self) -> int:
        """Returns N."""
        return self.logits.shape[1]

    @property
    def num_cells(self) -> Size:
        """Returns B * h * w."""
        return self.batch * self.height * self.width

    def image_of(self, cells: tf.Tensor) -> tf.Tensor:
        """Returns [C]: which image of the batch cells [C] are of."""
        return cells // (self.height * self.width)

    def sides_of(self, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how many rows and columns of pixels cells [C] have: S, or 1 at the edge."""
        row, column = self._place(cells)
        return (
            tf.where(row < self.height - 1, self.stride, 1),
            tf.where(column < self.width - 1, self.stride, 1),
        )

    def at_corners(self, read: Callable[[tf.Tensor, tf.Tensor], Any], signature: Any) -> Any:
        """Reads the mask logits as they are.

        Args:
          read: (logits [C, N], their images [C]) -> tensors [C, ...].
          signature: in the structure of what `read` returns, dtypes and shapes without C.

        Returns:
          Tensors [B * h * w, ...].
        """
        return in_chunks(
            tf.range(self.num_cells),
            lambda places: read(tf.gather(self.logits, places), self.image_of(places)),
            signature,
            _LOGITS_AT_ONCE,
        )

    def interpolate(self, cells: tf.Tensor) -> list[tf.Tensor]:
        """Returns the logits [C, N] of the S * S pixels of cells [C], row by row."""
        image, (row, column) = self.image_of(cells), self._place(cells)
        below = tf.minimum(row + 1, self.height - 1)
        right = tf.minimum(column + 1, self.width - 1)

        def corner(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
            place = (image * self.height + row) * self.width + column
            return tf.maximum(tf.gather(self.logits, place), _LOWEST)

        top = self._between(corner(row, column), corner(row, right))
        bottom = self._between(corner(below, column), corner(below, right))
        columns = [self._between(*ends) for ends in zip(top, bottom)]
        return [column[step] for step in range(self.stride) for column in columns]

    def _between(self, start: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        """Interpolates in the order of TensorFlow's resizing, to give the same to the last bit."""
        difference = end - start
        return [start] + [
            start + difference * (step / self.stride) for step in range(1, self.stride)
        ]

    def _place(self, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return cells // self.width % self.height, cells % self.width


@dataclasses.dataclass(frozen=True)
class Cells:
    """All cells of a batch, some settled and some open.

    What is known of pixels is a list of P items: first one a cell, for the settled ones, then one a
    pixel of the open ones. Centers are numbered through the batch: image * N + center.

    Attributes:
      grid: the mask logits.
      settled: [B * h * w] int32, the center that has the whole cell; -1: the cell is open.
      open: [U] int32 open cells.
    """

    grid: MaskGrid
    settled: tf.Tensor
    open: tf.Tensor

    @classmethod
    def settle(cls, grid: MaskGrid, corners: Best, threshold: float) -> Cells:
        """Settles cells where one center is in the mask, and no other is.

        Args:
          grid: the mask logits.
          corners: [B * h * w] the best center of each mask logit.
          threshold: of probabilities of masks. A center above it and above 1 - threshold is in its
            mask, keeps all others below the threshold, and is the best: one of the two exceeds 1/2.
        """
        if grid.static:
            cells = tf.range(grid.num_cells)
            return cls(grid, tf.fill([grid.num_cells], -1), cells)
        sure = corners.probability > max(threshold, 1 - threshold) + _MARGIN
        center = tf.where(sure, corners.center, -1)
        center = tf.reshape(center, [grid.batch, grid.height, grid.width])
        right = tf.concat([center[:, :, 1:], center[:, :, -1:]], axis=2)
        same = tf.where(center == right, center, -1)
        below = tf.concat([same[:, 1:], same[:, -1:]], axis=1)
        return cls._of(grid, tf.reshape(tf.where(same == below, same, -1), [-1]))  # [B * h * w]

    @classmethod
    def _of(cls, grid: MaskGrid, settled: tf.Tensor) -> Cells:
        return cls(grid, settled, _where(settled < 0))

    def reopen(self, rejected: tf.Tensor) -> Cells:
        """Opens settled cells of centers [B, N] that are rejected."""
        if self.grid.static:
            return self
        of_cell = tf.gather(tf.reshape(rejected, [-1]), tf.maximum(self.settled, 0))
        return self._of(self.grid, tf.where(of_cell, -1, self.settled))

    def closed(self) -> Optional[tf.Tensor]:
        """Returns the settled cells [S] int32; None: there are none by construction."""
        return None if self.grid.static else _where(self.settled >= 0)

    def read(
        self, cells: tf.Tensor, read: Callable[[tf.Tensor, tf.Tensor], Any], signature: Any
    ) -> Any:
        """Reads something of each pixel of some cells.

        Args:
          cells: [C] int32.
          read: (logits [C, N], their images [C]) -> tensors [C, ...].
          signature: in the structure of what `read` returns, dtypes and shapes without C.

        Returns:
          Tensors [C, S * S, ...].
        """

        def of_chunk(cells: tf.Tensor) -> Any:
            image = self.grid.image_of(cells)
            readings = [read(logits, image) for logits in self.grid.interpolate(cells)]
            return tf.nest.map_structure(lambda *pixels: tf.stack(pixels, axis=1), *readings)

        pixels = self.grid.stride**2
        with_pixels = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([pixels, *spec.shape], spec.dtype), signature
        )
        return in_chunks(cells, of_chunk, with_pixels, _CELLS_AT_ONCE)

    def items(self, of_cells: tf.Tensor, of_pixels: tf.Tensor) -> tf.Tensor:
        """Joins values of all cells [cells, ...] and of open pixels [U, S * S, ...]: [P, ...]."""
        flat = tf.reshape(of_pixels, [-1, *of_pixels.shape[2:]])  # [U * S * S, ...]
        return tf.concat([of_cells, flat], axis=0)

    def images(self) -> tf.Tensor:
        """Returns [P]: the image of each item."""
        of_open = tf.repeat(self.grid.image_of(self.open), self.grid.stride**2)
        return tf.concat([self.grid.image_of(tf.range(self.grid.num_cells)), of_open], axis=0)

    def weights(self) -> tf.Tensor:
        """Returns [P] int32: how many pixels of the map each item is."""
        rows, columns = self.grid.sides_of(tf.range(self.grid.num_cells))
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
        if self.grid.static:
            return self._as_map(of_pixels)
        values = tf.repeat(of_cells[:, tf.newaxis], self.grid.stride**2, axis=1)
        return self._as_map(
            tf.tensor_scatter_nd_update(values, self.open[:, tf.newaxis], of_pixels)
        )

    def arrange(self, parts: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """Returns the map [B, H, W] of cells [C] and their pixels [C, S * S], all cells in all."""
        if self.grid.static:
            return self._as_map(parts[0][1])
        cells, pixels = (tf.concat(values, axis=0) for values in zip(*parts))
        shape = [self.grid.num_cells, self.grid.stride**2]
        return self._as_map(tf.scatter_nd(cells[:, tf.newaxis], pixels, shape))

    def _on_map(self, cells: tf.Tensor) -> tf.Tensor:
        """Returns [C, S * S]: which pixels of cells [C] are on the map, not beyond its edge."""
        rows, columns = self.grid.sides_of(cells)
        steps = tf.range(self.grid.stride)
        inside = (steps < rows[:, tf.newaxis])[:, :, tf.newaxis] & (steps < columns[:, tf.newaxis])[
            :, tf.newaxis
        ]
        return tf.reshape(inside, [-1, self.grid.stride**2])  # [C, S * S]

    def _as_map(self, pixels: tf.Tensor) -> tf.Tensor:
        """Arranges [B * h * w, S * S] as [B, H, W]."""
        grid, side = self.grid, self.grid.stride
        by_rows = tf.transpose(
            tf.reshape(pixels, [grid.batch, grid.height, grid.width, side, side]), [0, 1, 3, 2, 4]
        )  # [B, h, S, w, S]
        full = tf.reshape(by_rows, [grid.batch, grid.height * side, grid.width * side])
        return full[:, : (grid.height - 1) * side + 1, : (grid.width - 1) * side + 1]  # [B, H, W]


def in_chunks(
    rows: tf.Tensor, read: Callable[[tf.Tensor], Any], signature: Any, at_once: int
) -> Any:
    """Applies a function to rows [R], a chunk at a time, and joins what it returns.

    Args:
      rows: [R] int32.
      read: from some rows [C] to tensors [C, ...].
      signature: in the structure of what `read` returns, dtypes and shapes without C.
      at_once: the most rows of a chunk.

    Returns:
      Tensors [R, ...].
    """
    static = rows.shape[0]
    if static is None:
        count = tf.shape(rows)[0]
        chunks = tf.maximum(1, (count + at_once - 1) // at_once)
    else:
        count, chunks = static, max(1, (static + at_once - 1) // at_once)
    size = (count + chunks - 1) // chunks
    padded = tf.pad(rows, [[0, chunks * size - count]])

    results = tf.map_fn(
        read,
        tf.reshape(padded, [chunks, size]),
        fn_output_signature=tf.nest.map_structure(
            lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), signature
        ),
        parallel_iterations=1,
    )
    return tf.nest.map_structure(
        lambda x: tf.reshape(x, [chunks * size, *x.shape[2:]])[:count],  # [R, ...]
        results,
    )


def _where(condition: tf.Tensor) -> tf.Tensor:
    """Returns the int32 places [.] where [R] holds."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)
