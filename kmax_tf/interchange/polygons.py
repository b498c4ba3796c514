"""Masks as polygons, and how far the pixels that COCO fills for them agree with the masks.

A polygon follows the outer edges of pixels, so that without simplification it is exact. COCO's
polygons have no holes: a cut, there and back, leads from the outline to each, which fills nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.interchange.predictions import PredictedImage, PredictedSegment

Point = tuple[int, int]
Polygon = np.ndarray  # [points, 2], x and y


@dataclasses.dataclass
class PolygonMaker:
    """Draws the polygons of many segments, and remembers how they agree with the masks.

    Attributes:
      tolerance: pixels that a polygon may leave the mask's outline by; 0 is exact.
      worst: the least agreement so far, and which segment it is of.
    """

    tolerance: float = 1.0
    worst: tuple[float, str] = (1.0, "")
    _common: int = 0
    _either: int = 0

    @property
    def agreement(self) -> float:
        """Returns the share of all pixels of masks or polygons that are in both."""
        return self._common / self._either if self._either else 1.0

    def draw(
        self, image: PredictedImage, segment: PredictedSegment
    ) -> tuple[list[list[float]], float]:
        """Returns the polygons of a segment, as COCO lists them, and their agreement (IoU)."""
        x, y, width, height = segment.bbox
        inside = image.ids[y : y + height, x : x + width] == segment.id
        drawn = [polygon + np.array([x, y]) for polygon in trace(inside, self.tolerance)]
        listed = [[float(value) for value in polygon.ravel()] for polygon in drawn]
        common, either = _overlap(listed, segment.code)
        self._common, self._either = self._common + common, self._either + either
        agreement = round(common / either, 4)
        if agreement < self.worst[0]:
            what = f"{segment.category.name} {segment.id} of {image.name}"
            self.worst = (agreement, what)
        return listed, agreement


def trace(inside: np.ndarray, tolerance: float = 0.0) -> list[Polygon]:
    """Returns the polygons of a mask [H, W] bool, one for each part; parts touch at no edge.

    Args:
      inside: the mask, with pixels.
      tolerance: pixels that a polygon may leave the outline by.
    """
    outline = _Outline(inside)
    polygons = [_without_straight(loop) for loop in outline.loops()]
    if not tolerance:
        return polygons
    simple = [_simplified(polygon, tolerance) for polygon in polygons]
    kept = [polygon for polygon in simple if len(polygon) > 2]
    return kept or [max(polygons, key=len)]


class _Outline:
    """The edges of pixels between inside and outside, with the inside on their right."""

    def __init__(self, inside: np.ndarray):
        self._inside = np.pad(inside.astype(bool), 1)
        self._starts: list[Point] = []
        self._ends: list[Point] = []
        self._next: list[int] = []
        self._find()
        self._link()

    def loops(self) -> list[Polygon]:
        """Returns a closed loop for each part of the mask, holes connected to it by cuts."""
        loops = self._closed()
        holes = [loop for loop in loops if _area(self._points(loop)) < 0]
        # The outline left of a hole's leftmost point belongs to a loop further left.
        by_place = {(*self._starts[e], *self._ends[e]): e for e in range(len(self._starts))}
        for hole in sorted(holes, key=lambda loop: min(self._starts[e] for e in loop)):
            self._cut(hole, by_place)
        return [self._points(loop) for loop in self._closed()]

    def _find(self) -> None:
        below, above = self._inside[1:], self._inside[:-1]
        right, left = self._inside[:, 1:], self._inside[:, :-1]
        # Of the padded mask: an edge lies before pixel + 1, and the padding is 1.
        for found, start, end in (
            (below & ~above, (0, 0), (1, 0)),
            (above & ~below, (1, 0), (0, 0)),
        ):
            for y, x in np.argwhere(found).tolist():
                self._starts.append((x - 1 + start[0], y))
                self._ends.append((x - 1 + end[0], y))
        for found, start, end in (
            (right & ~left, (0, 1), (0, 0)),
            (left & ~right, (0, 0), (0, 1)),
        ):
            for y, x in np.argwhere(found).tolist():
                self._starts.append((x, y - 1 + start[1]))
                self._ends.append((x, y - 1 + end[1]))

    def _link(self) -> None:
        """Lets each edge have a next one; where two pixels touch at a corner, turns right."""
        leaving: dict[Point, list[int]] = {}
        for edge, start in enumerate(self._starts):
            leaving.setdefault(start, []).append(edge)
        for edge, end in enumerate(self._ends):
            choices = leaving[end]
            chosen = choices[0]
            if len(choices) > 1:
                chosen = next(e for e in choices if self._turn(edge, e) > 0)
            self._next.append(chosen)

    def _turn(self, first: int, second: int) -> int:
        """Returns 1 for a turn to the right (y points down), -1 to the left, 0 for none."""
        (x0, y0), (x1, y1), (x2, y2) = self._starts[first], self._ends[first], self._ends[second]
        return (x1 - x0) * (y2 - y1) - (y1 - y0) * (x2 - x1)

    def _closed(self) -> list[list[int]]:
        seen = [False] * len(self._next)
        loops = []
        for first in range(len(self._next)):
            loop, edge = [], first
            while not seen[edge]:
                seen[edge] = True
                loop.append(edge)
                edge = self._next[edge]
            if loop:
                loops.append(loop)
        return loops

    def _points(self, loop: list[int]) -> Polygon:
        return np.array([self._starts[edge] for edge in loop])

    def _cut(self, hole: list[int], by_place: dict[tuple[int, int, int, int], int]) -> None:
        """Connects a hole with the outline to its left, along a line between pixels."""
        place = min(range(len(hole)), key=lambda index: self._starts[hole[index]])
        x, y = self._starts[hole[place]]
        # Left of the hole's leftmost point, in the row below it, pixels are inside.
        row = self._inside[y + 1, : x + 1]
        left = x - 1 - int(np.argmin(row[::-1])) + 1 if not row.all() else 0
        before = by_place[left, y + 1, left, y]
        arriving = hole[place - 1]
        after, leaving = self._next[before], hole[place]
        there = self._add((left, y), (x, y), leaving)
        back = self._add((x, y), (left, y), after)
        self._next[before], self._next[arriving] = there, back

    def _add(self, start: Point, end: Point, following: int) -> int:
        self._starts.append(start)
        self._ends.append(end)
        self._next.append(following)
        return len(self._next) - 1


def _area(points: Polygon) -> float:
    """Returns the area within a loop; negative if the outside is on its right."""
    x, y = points.T.astype(np.int64)
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def _without_straight(points: Polygon) -> Polygon:
    """Returns a loop without points between two others of one line."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    # A cut that turns back stays.
    bends = (np.sign(before) != np.sign(after)).any(axis=1)
    return points[bends]


def _simplified(points: Polygon, tolerance: float) -> Polygon:
    """Returns a loop with as few of its points as Douglas and Peucker's rule needs."""
    far = int(((points - points[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate([points, points[:1]])
    keep = np.zeros(len(closed), bool)
    keep[[0, far]] = True
    open_parts = [(0, far), (far, len(closed) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            open_parts += [(first, middle), (middle, last)]
    return points[keep[:-1]]


def _distances(points: Polygon, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Returns the distances of points from a line's part."""
    along, offset = (end - start).astype(float), (points - start).astype(float)
    length = float(along @ along)
    share = np.clip(offset @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.hypot(*(offset - share[:, np.newaxis] * along).T)


def _overlap(polygons: list[list[float]], code: dict[str, Any]) -> tuple[int, int]:
    """Returns how many pixels are both in the polygons and in the mask, and in either."""
    filled = rle_masks.merge(rle_masks.frPyObjects(polygons, *code["size"]))
    common = int(rle_masks.area(rle_masks.merge([filled, code], intersect=True)))
    return common, int(rle_masks.area(filled)) + int(rle_masks.area(code)) - common
