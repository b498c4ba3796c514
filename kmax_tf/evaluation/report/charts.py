"""Charts of an evaluation report as inline SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BAR_WIDTH, _BAR_HEIGHT = 240, 16
_SIZE_COLORS = ("#9ecae1", "#4292c6", "#084594")
# A confusion matrix of more classes than these can't be read: the most confused are shown.
MOST_CLASSES = 32


class Bar(NamedTuple):
    """The scores of a class or group, in percent; NaN where undefined."""

    pq: float
    sq: float
    rq: float
    color: str


def score_bar(bar: Bar) -> str:
    """Draws PQ as a bar, SQ as a line and RQ as a dot, on a scale from 0 to 100."""
    width, height = _BAR_WIDTH, _BAR_HEIGHT
    parts = [f'<rect class="track" width="{width}" height="{height}" rx="3"/>']
    if not math.isnan(bar.pq):
        pq, sq, rq = (score / 100 * width for score in (bar.pq, bar.sq, bar.rq))
        parts.append(
            f'<rect width="{pq:.1f}" height="{height}" rx="3" fill="{bar.color}"/>'
            f'<line class="mark" x1="{sq:.1f}" x2="{sq:.1f}" y1="0" y2="{height}"/>'
            f'<circle class="mark" cx="{rq:.1f}" cy="{height / 2}" r="3.2"/>'
        )
    return _svg(width, height, parts, _bar_title(bar))


def size_chart(groups: dict[str, dict[str, float]]) -> str:
    """Draws PQ of segments by size as groups of columns.

    Args:
      groups: {"all": {"small": percent, ...}, ...}; NaN where undefined.
    """
    column, gap, chart_height, base = 34, 34, 150, 172
    parts, left = [], 34
    for percent in (0, 25, 50, 75, 100):
        y = base - chart_height * percent / 100
        parts.append(f'<line class="grid" x1="30" x2="460" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="axis" x="24" y="{y + 4}" text-anchor="end">{percent}</text>')
    for group, sizes in groups.items():
        middle = left + column * len(sizes) / 2
        parts.append(f'<text x="{middle}" y="{base + 20}" text-anchor="middle">{group}</text>')
        for color, (size, score) in zip(_SIZE_COLORS, sizes.items()):
            shown = "-" if math.isnan(score) else f"{score:.0f}"
            tall = 0.0 if math.isnan(score) else chart_height * score / 100
            parts.append(
                f'<rect x="{left + 2}" y="{base - tall:.1f}" width="{column - 4}" '
                f'height="{tall:.1f}" fill="{color}"><title>{size}: {shown}</title></rect>'
                f'<text class="value" x="{left + column / 2}" y="{base - tall - 5:.1f}" '
                f'text-anchor="middle">{shown}</text>'
            )
            left += column
        left += gap
    return _svg(470, base + 30, parts, "PQ of segments by size")


def size_legend(names: Sequence[str]) -> str:
    """Returns swatches with the names of the sizes."""
    return "".join(
        f'<span class="key"><i style="background:{color}"></i>{html.escape(name)}</span>'
        for color, name in zip(_SIZE_COLORS, names)
    )


def confusion_matrix(shares: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Draws what the pixels of each true class were predicted as.

    Args:
      shares: [R, C] shares of the true class' pixels (0..1).
      rows: names of true classes.
      columns: names of predicted classes.
    """
    cell = 26 if len(columns) <= 18 else 20
    left = 12 + 7 * max(len(name) for name in rows)
    top = 12 + round(5.2 * max(len(name) for name in columns))
    parts = []
    for number, name in enumerate(columns):
        x = left + (number + 0.6) * cell
        parts.append(
            f'<text transform="translate({x:.1f},{top - 6}) rotate(-48)">{html.escape(name)}</text>'
        )
    for row, name in enumerate(rows):
        y = top + row * cell
        parts.append(
            f'<text x="{left - 6}" y="{y + cell / 2 + 4}" text-anchor="end">{html.escape(name)}'
            "</text>"
        )
        for column, share in enumerate(shares[row].tolist()):
            right = name == columns[column]
            title = f"{name} predicted as {columns[column]}: {100 * share:.1f} %"
            parts.append(
                f'<rect x="{left + column * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'fill="{_heat(share, right)}"><title>{html.escape(title)}</title></rect>'
            )
            if share >= 0.005:
                ink = "#fff" if share > 0.55 else "#333"
                parts.append(
                    f'<text class="cell" x="{left + (column + 0.5) * cell - 0.5}" '
                    f'y="{y + cell / 2 + 3}" text-anchor="middle" fill="{ink}">'
                    f"{100 * share:.0f}</text>"
                )
    width = left + len(columns) * cell + round(3.6 * max(len(name) for name in columns))
    return _svg(width, top + len(rows) * cell + 4, parts, "confusion between classes")


def _heat(share: float, right: bool) -> str:
    """Returns the color of a cell: green where the class is right, red where it is wrong."""
    strength = share**0.6
    target = (24, 120, 72) if right else (196, 38, 46)
    red, green, blue = (round(246 + strength * (channel - 246)) for channel in target)
    return f"rgb({red},{green},{blue})"


def _bar_title(bar: Bar) -> str:
    if math.isnan(bar.pq):
        return "no segment, crowd regions aside"
    return f"PQ {bar.pq:.1f}, SQ {bar.sq:.1f}, RQ {bar.rq:.1f}"


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )
