"""The segments of a panoptic map, found in one pass over its pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# Up to this largest value, counting in a table is faster than sorting.
_LARGEST_TABLE = 1 << 22


@dataclasses.dataclass(frozen=True)
class Segments:
    """The S segments of a panoptic map, one an id; unlabeled pixels are one, of class index -1.

    Attributes:
      ids: [S] int64 panoptic ids, increasing.
      classes: [S] int32 class indices (`LabelSpace.classes`); -1 where unlabeled.
      areas: [S] int64 numbers of pixels.
      index: [H, W] int64 segment of each pixel.
    """

    ids: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    index: np.ndarray


def find_segments(panoptic: np.ndarray, label_space: LabelSpace, what: str) -> Segments:
    """Finds the segments of a panoptic map.

    Args:
      panoptic: [H, W] integers, class id * label_divisor + instance.
      label_space: what the ids mean.
      what: the map's name in errors.

    Raises:
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    require_map(panoptic, what)
    ids, areas = count_values(panoptic)
    classes = class_indices(ids // label_space.label_divisor, label_space, what)
    return Segments(ids, classes, areas, _number(panoptic, ids))


def class_indices(ids: np.ndarray, label_space: LabelSpace, what: str) -> np.ndarray:
    """Looks up class indices of dataset ids.

    Args:
      ids: integers of any shape.
      label_space: what the ids mean.
      what: name of the ids' map in errors.

    Returns:
      int32 of the same shape; -1 for the ignore label.

    Raises:
      ValueError: an id is neither a class nor the ignore label.
    """
    table = label_space.class_index_of_id
    inside = (ids >= 0) & (ids < len(table))
    indices = table[np.where(inside, ids, label_space.ignore_label)]
    unknown = ~inside | ((indices < 0) & (ids != label_space.ignore_label))
    if unknown.any():
        named = label_space.name or "the dataset"
        found = ", ".join(str(i) for i in np.unique(ids[unknown])[:5])
        raise ValueError(f"the {what} holds class ids that {named} doesn't have: {found}")
    return indices


def require_map(values: np.ndarray, what: str) -> None:
    """Raises ValueError unless the values are [H, W] integers."""
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"the {what} must be an [H, W] map of integers, not {values.dtype} {values.shape}"
        )


def count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts integers.

    Args:
      values: integers of any shape.

    Returns:
      values: [V] int64, each value present once, increasing.
      counts: [V] int64.
    """
    if values.size and values.min() >= 0 and values.max() < _LARGEST_TABLE:
        table = np.bincount(values.ravel())
        present = np.flatnonzero(table)
        return present, table[present]
    present, counts = np.unique(values, return_counts=True)
    return present.astype(np.int64), counts


def _number(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Replaces each value [H, W] by its place among those present [V]: [H, W] int64."""
    if present.size and present[0] >= 0 and present[-1] < _LARGEST_TABLE:
        table = np.zeros(present[-1] + 1, np.int64)
        table[present] = np.arange(len(present))
        return table[values]
    return np.searchsorted(present, values)
