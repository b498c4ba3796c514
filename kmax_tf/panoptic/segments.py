"""The segments of a panoptic map: class id * label_divisor + instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kmax_tf.panoptic.runs import Runs, find_runs
from kmax_tf.wording import some

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace


def find_segments(
    panoptic: np.ndarray, labels: LabelSpace, what: str, columns: bool = False
) -> tuple[Runs, np.ndarray]:
    """Finds the V segments of a panoptic map, one an id; unlabeled pixels are one.

    Args:
      panoptic: [H, W] integers, class id * label_divisor + instance.
      labels: what the ids mean.
      what: the map's name in errors.
      columns: whether runs go down the columns.

    Returns:
      The runs, whose values are panoptic ids, and [V] int32 class indices, -1 where unlabeled.

    Raises:
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    require_map(panoptic, what)
    runs = find_runs(panoptic, columns)
    class_ids = runs.values // labels.label_divisor
    return runs, class_indices(class_ids, labels, what)


def class_indices(ids: np.ndarray, labels: LabelSpace, what: str) -> np.ndarray:
    """Looks up the class indices of dataset ids of any shape: int32, -1 for the ignore label.

    Raises:
      ValueError: an id is neither a class nor the ignore label.
    """
    table = labels.class_index_of_id
    inside = (ids >= 0) & (ids < len(table))
    indices = table[np.where(inside, ids, labels.ignore_label)]
    unknown = ~inside | ((indices < 0) & (ids != labels.ignore_label))
    if unknown.any():
        named = labels.name or "the dataset"
        found = some(np.unique(ids[unknown]))
        raise ValueError(f"the {what} holds class ids that {named} doesn't have: {found}")
    return indices


def require_map(values: np.ndarray, what: str) -> None:
    """Raises ValueError unless the values are [H, W] integers."""
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"the {what} must be an [H, W] map of integers, not {values.dtype} {values.shape}"
        )
