"""Runs of equal pixels: a map of segments has a fiftieth as many of them as pixels."""

from __future__ import annotations

import numpy as np

# Up to so many possible pairs are counted in a table, more by sorting.
_LARGEST_TABLE = 1 << 20
# Smaller ids are looked up in a table, which fits into a cache; larger ones are searched.
_LARGEST_ID = 1 << 20


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


def number_pixels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what np.unique(values, return_inverse=True) does of a map [H, W], run by run.

    Returns:
      The V values present, increasing, and [H, W] int64 the place of each pixel's among them.
    """
    flat = values.ravel()
    ends = run_ends(flat)
    present, index = number_values(flat[ends])
    return present, index.repeat(np.diff(ends, prepend=-1)).reshape(values.shape)
