"""Pixels of the full size, interpolated some at a time, so that they are never there as a whole.

Between neighbouring mask logits, values are interpolated bilinearly with aligned corners: full-size
maps have (h - 1) * S + 1 rows, S being the stride of the mask logits.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Union

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.ops import static_or_dynamic_shape

Size = Union[int, tf.Tensor]
# (values [C, N] of pixels, their images [C]) -> tensors [C, ...], in any structure.
Read = Callable[[tf.Tensor, tf.Tensor], Any]

# Values that are read at once: enough for an operation to be worth its start, little memory.
_VALUES_AT_ONCE = 16384
# And cells, of which each is S * S pixels.
_CELLS_AT_ONCE = 4096
# More than processors compute in one instruction: see `probabilities` and `in_chunks`.
_VECTOR = 16
# Stands for minus infinity, of which interpolation would make NaN.
_LOWEST = -1e30


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Returns the softmax of pixels [C, N], rounded alike wherever a pixel is.

    TensorFlow rounds what fills no vector of the processor, the last of a tensor or a row,
    otherwise than the rest; so rows are filled up, and `in_chunks` does so with their number.
    """
    missing = -logits.shape[1] % _VECTOR
    if not missing:
        return tf.nn.softmax(logits)
    filled = tf.pad(logits, [[0, 0], [0, missing]], constant_values=float("-inf"))
    return tf.nn.softmax(filled)[:, : logits.shape[1]]


def read_pixels(values: tf.Tensor, stride: int, read: Read) -> Any:
    """Reads something of each pixel of the full size.

    Args:
      values: [B, h, w, N].
      stride: S, of the values.
      read: (values [C, N] of pixels, their images [C]) -> tensors [C, ...].

    Returns:
      Tensors [B, H, W, ...].
    """
    grid = Grid.of(values, stride)
    return tf.nest.map_structure(grid.as_map, grid.read(tf.range(grid.num_cells), read))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Values as a list, such as mask logits, and where they are.

    A cell is the S x S pixels from one value to the next, to the right and down; those of the last
    row and column repeat the edge, and are beyond the map where they do.

    Attributes:
      values: [B * h * w, N] float32.
      batch, height, width: of the values; numbers where they are known.
      stride: S, pixels from one to the next.
    """

    values: tf.Tensor
    batch: Size
    height: Size
    width: Size
    stride: int

    @classmethod
    def of(cls, values: tf.Tensor, stride: int) -> Grid:
        """Makes the grid of values [B, h, w, N]."""
        batch, height, width, _ = static_or_dynamic_shape(values)
        flat = tf.reshape(values, [-1, values.shape[3]])  # [B * h * w, N]
        return cls(flat, batch, height, width, stride)

    @property
    def num_centers(self) -> int:
        """Returns N."""
        return self.values.shape[1]

    @property
    def num_cells(self) -> Size:
        """Returns B * h * w."""
        return self.batch * self.height * self.width

    def image_of(self, cells: tf.Tensor) -> tf.Tensor:
        """Returns [C]: which image of the batch cells [C] are of."""
        return cells // (self.height * self.width)

    def place_of(self, cells: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns row and column of cells [C]."""
        return cells // self.width % self.height, cells % self.width

    def read_corners(self, read: Read) -> Any:
        """Reads the values [B * h * w, N] as they are: tensors [B * h * w, ...]."""
        return in_chunks(
            tf.range(self.num_cells),
            lambda cells: read(tf.gather(self.values, cells), self.image_of(cells)),
            _VALUES_AT_ONCE,
        )

    def read(self, cells: tf.Tensor, read: Read) -> Any:
        """Reads something of each pixel of some cells [C]: tensors [C, S * S, ...]."""
        form = ops.choose(self._read_one_by_one, in_other_runtimes=self._read_together)
        return form(cells, read)

    def _read_one_by_one(self, cells: tf.Tensor, read: Read) -> Any:
        """Reads the first pixel of many cells, then the second, ..."""

        def read_cells(cells: tf.Tensor) -> Any:
            image = self.image_of(cells)
            readings = [read(values, image) for values in self._interpolate(cells)]
            return tf.nest.map_structure(lambda *pixels: tf.stack(pixels, axis=1), *readings)

        return in_chunks(cells, read_cells, _CELLS_AT_ONCE)

    def _read_together(self, cells: tf.Tensor, read: Read) -> Any:
        """Reads all pixels of some cells at once: a fraction of the operations."""
        pixels = self.stride**2

        def read_cells(cells: tf.Tensor) -> Any:
            values = tf.concat(self._interpolate(cells), axis=0)  # [S * S * C, N]
            readings = read(values, tf.tile(self.image_of(cells), [pixels]))

            def by_cell(x: tf.Tensor) -> tf.Tensor:
                rest = list(range(2, x.shape.rank + 1))
                return tf.transpose(tf.reshape(x, [pixels, -1, *x.shape[1:]]), [1, 0, *rest])

            return tf.nest.map_structure(by_cell, readings)  # [C, S * S, ...]

        return in_chunks(cells, read_cells, max(_CELLS_AT_ONCE // pixels, _VECTOR))

    def as_map(self, pixels: tf.Tensor) -> tf.Tensor:
        """Arranges pixels of all cells, [B * h * w, S * S] or with one axis more, as [B, H, W]."""
        if pixels.shape.rank > 2:
            if pixels.shape[2] is None:
                layers = tf.map_fn(
                    self.as_map,
                    tf.transpose(pixels, [2, 0, 1]),  # [L, B * h * w, S * S]
                    fn_output_signature=tf.TensorSpec([None] * 3, pixels.dtype),
                )
                return tf.transpose(layers, [1, 2, 3, 0])  # [B, H, W, L]
            # Layer by layer: a last axis of few is slow to transpose.
            return tf.stack([self.as_map(x) for x in tf.unstack(pixels, axis=2)], axis=-1)
        side = self.stride
        cells = tf.reshape(pixels, [self.batch * self.height, self.width, side, side])
        by_rows = tf.transpose(cells, [0, 2, 1, 3])  # [B * h, S, w, S]
        height, width = self.height * side, self.width * side
        full = tf.reshape(by_rows, [self.batch, height, width])
        return full[:, : height - side + 1, : width - side + 1]  # [B, H, W]

    def _interpolate(self, cells: tf.Tensor) -> list[tf.Tensor]:
        """Returns the values [C, N] of the S * S pixels of cells [C], row by row."""
        if self.stride == 1:
            return [tf.gather(self.values, cells)]
        image, (row, column) = self.image_of(cells), self.place_of(cells)
        below = tf.minimum(row + 1, self.height - 1)
        right = tf.minimum(column + 1, self.width - 1)

        def corner(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
            place = (image * self.height + row) * self.width + column
            return tf.maximum(tf.gather(self.values, place), _LOWEST)

        top = self._between(corner(row, column), corner(row, right))
        bottom = self._between(corner(below, column), corner(below, right))
        columns = [self._between(*ends) for ends in zip(top, bottom)]
        return [column[step] for step in range(self.stride) for column in columns]

    def _between(self, start: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        """Interpolates in the order of TensorFlow's resizing, to give the same to the last bit.

        The first of the S values is the start itself, whatever the end.
        """
        difference = end - start
        steps = [step / self.stride for step in range(1, self.stride)]
        return [start] + [start + difference * step for step in steps]


def in_chunks(rows: tf.Tensor, read: Callable[[tf.Tensor], Any], at_once: int) -> Any:
    """Applies a function to rows [R], a chunk at a time, and joins what it returns.

    Args:
      rows: [R] int32.
      read: from some rows [C] to tensors [C, ...]; C is a multiple of what processors compute at
        once (`probabilities`), so that some rows may be there again.
      at_once: the most rows of a chunk, such a multiple.

    Returns:
      Tensors [R, ...].
    """
    known = rows.shape[0]
    count = tf.shape(rows)[0] if known is None else known
    chunks = (count + at_once - 1) // at_once
    chunks = tf.maximum(chunks, 1) if known is None else max(chunks, 1)
    size = (count + chunks * _VECTOR - 1) // (chunks * _VECTOR) * _VECTOR
    filled = tf.reshape(tf.pad(rows, [[0, chunks * size - count]]), [chunks, size])
    results = ops.choose(_in_a_loop, in_other_runtimes=_one_by_one)(filled, read)
    return tf.nest.map_structure(
        lambda x: tf.reshape(x, [chunks * size, *static_or_dynamic_shape(x)[2:]])[:count],
        results,
    )


def _in_a_loop(chunks: tf.Tensor, read: Callable[[tf.Tensor], Any]) -> Any:
    """Applies a function to each row of chunks [., C]: tensors [., C, ...]."""
    example = read(tf.zeros([_VECTOR], tf.int32))
    return tf.map_fn(
        read,
        chunks,
        fn_output_signature=tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), example
        ),
        parallel_iterations=1,
    )


def _one_by_one(chunks: tf.Tensor, read: Callable[[tf.Tensor], Any]) -> Any:
    """Does the same without a loop, and so without lists of tensors, for a known number of rows."""
    results = [read(chunk) for chunk in tf.unstack(chunks)]
    return tf.nest.map_structure(lambda *parts: tf.stack(parts), *results)
