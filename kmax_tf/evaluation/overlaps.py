"""Which segments of two maps share how many pixels, found in one pass.

Maps of segments change seldom from one pixel to the next. What is sorted and counted here are
therefore runs of pixels, in which neither map changes, and not pixels: a fiftieth of them in usual
images. (In noise there are as many, and sorting pixels would be faster.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Up to so many possible pairs are counted in a table, more by sorting.
_LARGEST_TABLE = 1 << 20
# Smaller ids are looked up in a table, which fits into a cache; larger ones are searched.
_LARGEST_ID = 1 << 20


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The S ids of one map, the T of another, and the O pairs of ids that share pixels.

    Attributes:
      true_ids: [S] ids of the first map, increasing.
      predicted_ids: [T] ids of the second map, increasing.
      true_areas: [S] int64 numbers of pixels.
      predicted_areas: [T] int64 numbers of pixels.
      pair_true: [O] index of the pair's first id.
      pair_predicted: [O] index of the pair's second id.
      shared: [O] int64 pixels that both have.
    """

    true_ids: np.ndarray
    predicted_ids: np.ndarray
    true_areas: np.ndarray
    predicted_areas: np.ndarray
    pair_true: np.ndarray
    pair_predicted: np.ndarray
    shared: np.ndarray


def find_overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Counts the pixels of each pair of ids.

    Args:
      truth: [H, W] integers.
      prediction: [H, W] integers.

    Raises:
      ValueError: the maps differ in size.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the ground truth is {truth.shape} and the prediction {prediction.shape}")
    first, second = truth.ravel(), prediction.ravel()
    ends = run_ends(first, second)
    true_ids, of_true = number_values(first[ends])
    predicted_ids, of_predicted = number_values(second[ends])
    width = max(len(predicted_ids), 1)
    pairs, shared = sum_by_value(
        of_true * width + of_predicted, np.diff(ends, prepend=-1), len(true_ids) * width
    )
    pair_true, pair_predicted = np.divmod(pairs, width)
    return Overlaps(
        true_ids=true_ids,
        predicted_ids=predicted_ids,
        true_areas=sum_by_index(pair_true, shared, len(true_ids)),
        predicted_areas=sum_by_index(pair_predicted, shared, len(predicted_ids)),
        pair_true=pair_true,
        pair_predicted=pair_predicted,
        shared=shared,
    )


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
