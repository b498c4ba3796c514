"""Runs of equal pixels: a map of segments has a fiftieth as many of them as pixels."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

# Up to so many possible pairs are counted in a table, more by sorting.
_LARGEST_TABLE = 1 << 20
# Smaller ids are looked up in a table, which fits into a cache; larger ones are searched.
_LARGEST_ID = 1 << 20


@dataclasses.dataclass(frozen=True)
class Runs:
    """The R runs of a map, and the V values present in it.

    Attributes:
      values: [V] increasing.
      index: [R] int64 place of each run's value among them.
      lengths: [R] int64 pixels of each run.
      shape: of the map.
      columns: whether runs go down the columns, as COCO counts pixels, and not along the rows.
    """

    values: np.ndarray
    index: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, ...]
    columns: bool = False

    @functools.cached_property
    def areas(self) -> np.ndarray:
        """Returns [V] int64 pixels of each value."""
        return sum_by_index(self.index, self.lengths, len(self.values))

    def paint(self, table: np.ndarray) -> np.ndarray:
        """Returns a map [H, W, ...] of what a table [V, ...] has for each pixel's value."""
        order = "F" if self.columns else "C"
        painted = table[self.index].repeat(self.lengths, axis=0)
        return painted.reshape((*self.shape, *table.shape[1:]), order=order)

    def places(self) -> np.ndarray:
        """Returns [H, W] int64 the place of each pixel's value, as np.unique's inverse."""
        return self.paint(np.arange(len(self.values)))

    def encode(self, place: int) -> dict[str, Any]:
        """Returns the run-length code of the pixels of a value, as `pycocotools.mask.encode`.

        Args:
          place: of the value; -1 of an empty mask.

        Returns:
          Height and width, and counts as text.
        """
        mine = self.index == place
        lengths = self.lengths[mine]
        starts = (np.cumsum(self.lengths) - self.lengths)[mine]
        # Alternately pixels outside and inside, and those behind the last run, if any.
        counts = np.empty(2 * len(starts), np.int64)
        counts[0::2] = starts - np.concatenate([[0], starts + lengths])[: len(starts)]
        counts[1::2] = lengths
        height, width = self.shape
        rest = height * width - int((starts + lengths).max(initial=0))
        listed = [*counts.tolist(), rest] if rest else counts.tolist()
        from pycocotools import mask as rle_masks

        code = rle_masks.frPyObjects({"counts": listed, "size": [height, width]}, height, width)
        return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def find_runs(values: np.ndarray, columns: bool = False) -> Runs:
    """Finds the runs of a map [H, W], along its rows or down its columns."""
    flat = values.ravel(order="F" if columns else "C")
    ends = run_ends(flat)
    present, index = number_values(flat[ends])
    return Runs(present, index, np.diff(ends, prepend=-1), values.shape, columns)


def run_ends(*maps: np.ndarray) -> np.ndarray:
    """Returns [R] int64: the last pixel of each run in which none of the maps [P] changes."""
    (size,) = maps[0].shape
    if not size:
        return np.zeros(0, np.int64)
    change = np.ones(size, bool)
    inner = change[:-1]
    np.not_equal(maps[0][1:], maps[0][:-1], out=inner)
    for values in maps[1:]:
        inner |= values[1:] != values[:-1]
    return np.flatnonzero(change)


def number_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values present, increasing, and the place of each value among them (int64)."""
    present = np.unique(values)
    if not present.size or present[0] < 0 or present[-1] >= _LARGEST_ID:
        return present, np.searchsorted(present, values)
    places = np.empty(int(present[-1]) + 1, np.int32)
    places[present] = np.arange(len(present))
    return present, places[values].astype(np.int64)


def sum_by_index(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums values [O] by index [O]: [count] int64 (exact: pixels of an image are below 2^53)."""
    return np.bincount(index, weights=values, minlength=count).astype(np.int64)


def sum_by_value(keys: np.ndarray, values: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums values [R] by key [R], 0 <= key < bound: the keys that have a sum, and their sums."""
    if bound <= _LARGEST_TABLE:
        table = sum_by_index(keys, values, bound)
        present = np.flatnonzero(table)
        return present, table[present]
    present, index = number_values(keys)
    return present, sum_by_index(index, values, len(present))
