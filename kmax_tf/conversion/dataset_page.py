"""One HTML file that shows a dataset to people: what is in it, what was left out, what looks odd.

A conversion writes one without pictures, `kmax inspect-dataset` one with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kmax_tf.files.pages import page_templates
from kmax_tf.labels import LabelSpace
from kmax_tf.records.statistics import Statistics, sizes_line
from kmax_tf.wording import count_of

# Bars of a chart; more values are put together.
_MOST_BARS = 24


class Picture(NamedTuple):
    """An example: what it is called, and JPEGs of the image and its segments."""

    caption: str
    panels: Sequence[bytes]


@dataclasses.dataclass
class SplitPage:
    """What a page shows of a split.

    Attributes:
      statistics: of its images.
      refused: name and reason of what was left out.
      equal: images that are also in other splits: name, split, its name there.
      problems: sentences.
      cut_off: what crop and centers cut off: sentences.
      pictures: examples by heading.
    """

    statistics: Statistics
    refused: Sequence[tuple[str, str]] = ()
    equal: Sequence[tuple[str, str, str]] = ()
    problems: Sequence[str] = ()
    cut_off: Sequence[str] = ()
    pictures: Mapping[str, Sequence[Picture]] = dataclasses.field(default_factory=dict)


def page_of_report(entry: Mapping[str, Any]) -> SplitPage:
    """Returns what report.json says of a split."""
    return SplitPage(
        Statistics.from_json(dict(entry)),
        [(item["name"], item["reason"]) for item in entry["refused"]],
        [(item["name"], item["split"], item["other"]) for item in entry.get("equal_images", ())],
    )


class Bar(NamedTuple):
    """A bar of a chart: its label, its number, and its share of the largest."""

    label: str
    number: int
    share: float


def dataset_page(title: str, splits: Mapping[str, SplitPage], labels: LabelSpace) -> str:
    """Returns the page."""
    template = page_templates("kmax_tf.conversion").get_template("dataset.html")
    return template.render(
        title=title,
        splits={name: _shown(page, labels) for name, page in splits.items()},
        colors={c.name: "rgb({},{},{})".format(*c.color) for c in labels.classes},
    )


def count_bars(counts: Mapping[int, int]) -> list[Bar]:
    """Returns a chart of how often a number of segments occurs; wide ranges are put together."""
    most = max(counts, default=0)
    width = -(-(most + 1) // _MOST_BARS)
    heights = [0] * (most // width + 1)
    for number, count in counts.items():
        heights[number // width] += count
    labels = [
        str(start) if width == 1 else f"{start} - {start + width - 1}"
        for start in range(0, width * len(heights), width)
    ]
    return _bars(labels, heights)


def area_bars(relative_areas: Mapping[int, int]) -> list[Bar]:
    """Returns a chart of sizes: sides of squares as shares of the images' longer sides."""
    if not relative_areas:
        return []
    span = range(max(relative_areas), min(relative_areas) - 1, -1)
    labels = [f"{100 * 2 ** (-k / 2):.3g} %" for k in span]
    return _bars(labels, [relative_areas.get(k, 0) for k in span])


def _shown(page: SplitPage, labels: LabelSpace) -> dict[str, Any]:
    statistics = page.statistics
    rows = []
    for category in labels.classes:
        counted = statistics.classes.get(category.name)
        if counted is not None:
            rows.append((category.name, "thing" if category.thing else "stuff", counted))
    return {
        **{field.name: getattr(page, field.name) for field in dataclasses.fields(page)},
        "sizes": sizes_line(statistics),
        "segments": count_of(sum(row[2].segments for row in rows), "segment"),
        "classes": rows,
        "charts": {
            "Segments of an image": count_bars(statistics.segments_per_image),
            "Sizes of segments: side of a square of their area, of the image's longer side": (
                area_bars(statistics.relative_areas)
            ),
        },
    }


def _bars(labels: Sequence[str], counts: Sequence[int]) -> list[Bar]:
    largest = max(counts, default=0)
    return [Bar(label, n, n / max(largest, 1)) for label, n in zip(labels, counts)]
