"""From masks that may overlap to a panoptic label, in which each pixel has one segment.

Crowd regions lie below all else. Above them, by the rule that is asked for: "small", stuff below
things, and large segments below small ones; or "order", what comes later in the file above what
comes before it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.entries import Segment
from kmax_tf.panoptic.segment_ids import Areas, Conventions, panoptic_map

OVERLAP_RULES = ("small", "order")


@dataclasses.dataclass(frozen=True)
class PaintingRules:
    """How masks become a label.

    Attributes:
      overlaps: one of OVERLAP_RULES.
      background: name of the stuff class of what no mask covers; "": that is unlabeled.
    """

    overlaps: str = "small"
    background: str = ""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A mask [H, W] bool of a class."""

    category: Category
    mask: np.ndarray
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Painted:
    """A label.

    Attributes:
      panoptic: [H, W] int32 panoptic ids.
      areas: pixels of each segment by class id, crowds not counted.
      counts: what happened, by what a report calls it.
      hidden: places of the regions that no pixel is left of.
    """

    panoptic: np.ndarray
    areas: Areas
    counts: dict[str, int]
    hidden: tuple[int, ...]


def paint(
    pieces: Sequence[Piece],
    shape: tuple[int, int],
    labels: LabelSpace,
    rules: PaintingRules,
    incomplete: bool = False,
    crowd_is_unlabeled: bool = True,
) -> Painted:
    """Paints masks over each other, and what none covers as the background that is asked for.

    Args:
      pieces: in the order of their file.
      shape: height and width.
      labels: the classes.
      rules: how masks become a label.
      incomplete: whether masks of the image were left out: what none covers is unlabeled then.
      crowd_is_unlabeled: crowd regions become unlabeled; else they keep their class.

    Raises:
      BadExampleError: more instances of a class than the label divisor holds.
    """
    sizes = [int(np.count_nonzero(piece.mask)) for piece in pieces]

    def depth(place: int) -> tuple[bool, ...] | tuple[int, ...]:
        piece = pieces[place]
        height = (piece.category.thing, -sizes[place]) if rules.overlaps == "small" else ()
        return (not piece.crowd, *height, place)

    index = np.zeros(shape, np.int32)  # 0: none; else the piece's place + 1
    covered = 0
    for place in sorted(range(len(pieces)), key=depth):
        covered += int(np.count_nonzero(index[pieces[place].mask]))
        index[pieces[place].mask] = place + 1
    counts = {"pixels where masks overlap": covered} if covered else {}
    regions = [(piece.category, piece.crowd) for piece in pieces]
    return label_regions(index, regions, labels, rules, incomplete, crowd_is_unlabeled, counts)


def label_regions(
    index: np.ndarray,
    regions: Sequence[tuple[Category, bool]],
    labels: LabelSpace,
    rules: PaintingRules,
    incomplete: bool,
    crowd_is_unlabeled: bool = True,
    counts: Mapping[str, int] = types.MappingProxyType({}),
) -> Painted:
    """Turns a map of regions into a label; those of a stuff class are one segment.

    Args:
      index: [H, W] int32: 0, none; else the region's place + 1.
      regions: class of each, and whether it is a crowd region.
      labels: the classes.
      rules: how masks become a label.
      incomplete: whether masks of the image were left out: what none covers is unlabeled then.
      crowd_is_unlabeled: crowd regions become unlabeled; else they keep their class.
      counts: what happened before.

    Raises:
      BadExampleError: more instances of a class than the label divisor holds.
    """
    left = np.bincount(index.ravel(), minlength=len(regions) + 1)
    table = np.arange(len(regions) + 1, dtype=np.int32)
    segments: dict[int, Segment] = {}
    stuff: dict[int, int] = {}
    for number, (category, crowd) in enumerate(regions, start=1):
        first = number if category.thing or crowd else stuff.setdefault(category.id, number)
        table[number] = first
        if left[number]:
            segments[first] = Segment(first, category.original_id, crowd=crowd)
    found = dict(counts)
    hidden = tuple(np.flatnonzero(left[1:] == 0).tolist())
    if hidden:
        found["segments hidden below others"] = len(hidden)
    if rules.background and left[0] and incomplete:
        found["images whose uncovered pixels stay unlabeled"] = 1
    elif rules.background and left[0]:
        category = _background(labels, rules.background)
        table[0] = first = stuff.get(category.id, len(regions) + 1)
        segments[first] = Segment(first, category.original_id, crowd=False)
    conventions = Conventions(exact_areas=False, crowd_is_unlabeled=crowd_is_unlabeled)
    panoptic, areas = panoptic_map(table[index], [*segments.values()], labels, conventions)
    return Painted(panoptic, areas, found, hidden)


def _background(labels: LabelSpace, name: str) -> Category:
    for category in labels.classes:
        if category.name == name and not category.thing:
            return category
    raise BadExampleError(f"the background {name} is no stuff class of '{labels.name}'; add it")
