"""What in a label looks like a slip of the hand: slivers, and things of parts far apart."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.runs import find_runs

SLIVERS = "slivers"
FAR_PARTS = "parts far apart"
# Smaller things are thin anyway.
_LEAST_SLIVER = 12
# Of a thing's area; smaller parts are crumbs.
_LEAST_PART = 0.05


class Suspicion(NamedTuple):
    """Something odd: of what kind, how odd (comparable within a kind), and where."""

    kind: str
    score: float
    panoptic_id: int


def find_suspicions(panoptic: np.ndarray, labels: LabelSpace) -> list[Suspicion]:
    """Looks at the things of a panoptic map [H, W]; crowd regions may be anything.

    A sliver has no pixel with four neighbours of its own, as where a polygon was drawn twice, or
    clicked along a line. Parts are far apart where the gap between them is wider than the thing
    would be if it were a square.
    """
    things = {category.id for category in labels.classes if category.thing}
    runs = find_runs(panoptic)
    places = runs.places() + 1
    found = []
    boxes = scipy.ndimage.find_objects(places)
    for place, panoptic_id in enumerate(runs.values.tolist(), start=1):
        class_id, instance = divmod(panoptic_id, labels.label_divisor)
        if class_id not in things or not instance:
            continue
        mask = np.pad(places[boxes[place - 1]] == place, 1)
        area = int(runs.areas[place - 1])
        if area >= _LEAST_SLIVER and not scipy.ndimage.binary_erosion(mask).any():
            found.append(Suspicion(SLIVERS, area, panoptic_id))
        gap = _widest_gap(mask, area) / area**0.5
        if gap > 1:
            found.append(Suspicion(FAR_PARTS, gap, panoptic_id))
    return found


def _widest_gap(mask: np.ndarray, area: int) -> float:
    """Returns the widest gap between the box of a part and the nearest other box, in pixels."""
    numbers, count = scipy.ndimage.label(mask, np.ones((3, 3)))
    if count < 2:
        return 0.0
    sizes = np.bincount(numbers.ravel())[1:]
    boxes = [
        [(side.start, side.stop) for side in box]
        for box, size in zip(scipy.ndimage.find_objects(numbers), sizes)
        if size >= _LEAST_PART * area
    ]
    gaps = [
        min((_distance(box, other) for other in boxes if other is not box), default=0.0)
        for box in boxes
    ]
    return max(gaps, default=0.0)


def _distance(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> float:
    apart = [
        max(start - other_stop, other_start - stop, 0)
        for (start, stop), (other_start, other_stop) in zip(first, second)
    ]
    return math.hypot(*apart)
