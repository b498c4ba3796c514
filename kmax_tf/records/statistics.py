"""What a split holds: images and their sizes, segments of each class and theirs."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from kmax_tf.labels import LabelSpace
from kmax_tf.wording import count_of

# JSON has texts as keys only.
_BY_NUMBER = ("segments_per_image", "relative_areas")
Key = TypeVar("Key")


@dataclasses.dataclass
class ClassStatistics:
    """Segments of a class: how many, in how many images, and their pixels.

    Attributes:
      segments: number of segments, crowds not counted.
      images: number of images with any.
      pixels: sum of their areas.
      smallest: smallest area.
      largest: largest area.
    """

    segments: int = 0
    images: int = 0
    pixels: int = 0
    smallest: int = 0
    largest: int = 0

    def add(self, other: ClassStatistics) -> None:
        """Adds those of other images."""
        self.smallest = min(filter(None, (self.smallest, other.smallest)), default=0)
        self.largest = max(self.largest, other.largest)
        self.segments += other.segments
        self.images += other.images
        self.pixels += other.pixels


@dataclasses.dataclass
class Statistics:
    """Counts that can be added up in any order, and written as JSON.

    Attributes:
      images: number of images.
      sizes: number of images of each size, "WIDTHxHEIGHT".
      classes: by name.
      most_segments: most segments of one image, as targets count them: things, and stuff classes.
      unlabeled: number of images without a label, as of test splits.
      counts: what making the labels did, such as pixels where masks overlap.
      segments_per_image: number of images that have so many segments.
      relative_areas: number of segments whose area, as a share of the square over the image's
        longer side, is from 2^-k to 2^(1-k), by k. However a crop scales the image, it tells what
        area a segment has there.
    """

    images: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    classes: dict[str, ClassStatistics] = dataclasses.field(default_factory=dict)
    most_segments: int = 0
    unlabeled: int = 0
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    segments_per_image: dict[int, int] = dataclasses.field(default_factory=dict)
    relative_areas: dict[int, int] = dataclasses.field(default_factory=dict)

    def add_image(
        self,
        height: int,
        width: int,
        areas: dict[int, list[int]],
        labels: LabelSpace,
        labeled: bool = True,
    ) -> None:
        """Counts an image, which has the areas of its segments by class id, if it is labeled."""
        self.images += 1
        self.unlabeled += not labeled
        self.sizes[f"{width}x{height}"] = self.sizes.get(f"{width}x{height}", 0) + 1
        segments = 0
        for category in labels.classes:
            found = areas.get(category.id)
            if found:
                segments += len(found) if category.thing else 1
                counted = ClassStatistics(len(found), 1, sum(found), min(found), max(found))
                self.classes.setdefault(category.name, ClassStatistics()).add(counted)
                for area in found:
                    halvings = math.ceil(math.log2(max(height, width) ** 2 / area))
                    _add(self.relative_areas, {halvings: 1})
        self.most_segments = max(self.most_segments, segments)
        if labeled:
            _add(self.segments_per_image, {segments: 1})

    def add_counts(self, counts: Mapping[str, int]) -> None:
        """Counts what making a label did."""
        _add(self.counts, counts)

    def add(self, other: Statistics) -> None:
        """Adds those of other images."""
        self.images += other.images
        self.unlabeled += other.unlabeled
        self.most_segments = max(self.most_segments, other.most_segments)
        _add(self.sizes, other.sizes)
        _add(self.counts, other.counts)
        _add(self.segments_per_image, other.segments_per_image)
        _add(self.relative_areas, other.relative_areas)
        for name, counted in other.classes.items():
            self.classes.setdefault(name, ClassStatistics()).add(counted)

    def to_json(self) -> dict[str, Any]:
        """Returns what from_json takes."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(content: dict[str, Any]) -> Statistics:
        """Returns the statistics of to_json; raises KeyError or TypeError for anything else."""
        classes = {name: ClassStatistics(**entry) for name, entry in content["classes"].items()}
        return Statistics(
            content["images"],
            dict(content["sizes"]),
            classes,
            content["most_segments"],
            content.get("unlabeled", 0),
            dict(content.get("counts", {})),
            *({int(k): n for k, n in content.get(key, {}).items()} for key in _BY_NUMBER),
        )

    def size_pairs(self) -> list[tuple[int, int, int]]:
        """Returns (height, width, number of images) of each size, in order of area."""
        pairs = []
        for size, count in self.sizes.items():
            width, height = map(int, size.split("x"))
            pairs.append((height, width, count))
        return sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair))


def _add(counts: dict[Key, int], others: Mapping[Key, int]) -> None:
    for key, count in others.items():
        counts[key] = counts.get(key, 0) + count


def segments_table(statistics: Statistics, labels: LabelSpace) -> list[str]:
    """Returns lines of a table: a row a class that has segments, things first.

    Classes without any stand in a line below it.
    """
    head = ("class", "kind", "segments", "images", "smallest", "mean area", "largest")
    rows: list[tuple[str, ...]] = [head]
    absent = []
    for category in labels.classes:
        counted = statistics.classes.get(category.name)
        if counted is None or not counted.segments:
            absent.append(category.name)
            continue
        kind = "thing" if category.thing else "stuff"
        mean = counted.pixels // counted.segments
        numbers = (counted.segments, counted.images, counted.smallest, mean, counted.largest)
        rows.append((category.name, kind, *map(str, numbers)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    sides = "<<>>>>>"  # names to the left, numbers to the right
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths)).rstrip()
        for row in rows
    ]
    if absent:
        lines.append(f"no segment, crowd regions aside: {', '.join(absent)}")
    return lines


def sizes_line(statistics: Statistics) -> str:
    """Returns a sentence of the images' sizes: width x height."""
    pairs = statistics.size_pairs()
    if not pairs:
        return "no images"
    seen = list(itertools.accumulate(count for *_, count in pairs))
    middle = pairs[bisect.bisect_left(seen, seen[-1] / 2)]
    most = count_of(statistics.most_segments, "segment")
    named = [f"{width} x {height}" for height, width, _ in (pairs[0], middle, pairs[-1])]
    if len(pairs) == 1:
        return f"all images are {named[0]}; at most {most} in one"
    return f"images from {named[0]} over {named[1]} (median) to {named[2]}; at most {most} in one"
