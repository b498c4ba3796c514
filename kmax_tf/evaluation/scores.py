"""Results of an evaluation as a file and as a table for a terminal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from kmax_tf.evaluation.metrics import Result
from kmax_tf.files.writing import PathLike, write_atomically
from kmax_tf.wording import count_of


def write_results(result: Result, folder: PathLike) -> str:
    """Writes FOLDER/metrics.json, whole or not at all; what isn't defined is null.

    Returns:
      The file's path.

    Raises:
      OutputError: the file can't be written.
    """
    path = os.path.join(os.fspath(folder), "metrics.json")
    write_atomically(path, json.dumps(_without_nan(result), indent=2) + "\n")
    return path


def format_table(result: Result) -> str:
    """Formats the metrics for a terminal: a row a class, things first, then the summary."""
    width = max([len(name) for name in result["per_class"]] + [len("class")])
    scores = "".join(f"{name:>8}" for name in ("PQ", "SQ", "RQ", "IoU"))
    counts = "".join(f"{name:>8}" for name in ("TP", "FP", "FN"))
    rule = "-" * (width + 7 * 8)
    lines = [f"{'class':<{width}}{scores}{counts}", rule]
    for kind in ("things", "stuff"):
        rows, together = group_of(result, kind)
        if rows:
            lines += [_format_row(name, row, width) for name, row in rows.items()]
            lines += [_format_row(kind.upper(), together, width), rule]
    lines.append(_format_row("ALL", group_of(result, "all")[1], width))
    lines += ["", _summary(result)]
    return "\n".join(line.rstrip() for line in lines)


def group_of(result: Result, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the rows of "things", "stuff" or "all" classes by name, and a row of all of them.

    That has the averages of their scores and the sums of their counts.
    """
    rows = {
        name: row
        for name, row in result["per_class"].items()
        if kind == "all" or row["thing"] == (kind == "things")
    }
    iou = [row["iou"] for row in rows.values() if not math.isnan(row["iou"])]
    return rows, {
        **{key: result[key][kind] for key in ("pq", "sq", "rq")},
        "iou": sum(iou) / len(iou) if iou else math.nan,
        **{key: sum(row[key] for row in rows.values()) for key in ("tp", "fp", "fn")},
    }


def _format_row(name: str, row: Mapping[str, Any], width: int) -> str:
    scores = "".join(f"{format_score(row[key]):>8}" for key in ("pq", "sq", "rq", "iou"))
    counts = "".join(f"{row[key]:>8}" for key in ("tp", "fp", "fn"))
    return f"{name:<{width}}{scores}{counts}"


def _summary(result: Result) -> str:
    parts = [f"PQ {format_score(result['pq']['all'])}", f"mIoU {format_score(result['miou'])}"]
    if result["ap"] and group_of(result, "things")[0]:
        ap = result["ap"]
        mask_ap = f"mask AP {format_score(ap['ap'])} (AP50 {format_score(ap['ap50'])})"
        # Without stuff, the score that everybody compares instances by leads.
        parts.insert(len(parts) if group_of(result, "stuff")[0] else 0, mask_ap)
    sizes = [f"{name} {format_score(pq['all'])}" for name, pq in result["pq_by_size"].items()]
    images = count_of(result["images"], "image")
    return (
        f"{', '.join(parts)}\nPQ of segments by size: {', '.join(sizes)}\n"
        f"{images} at {result['resolution']} resolution; scores in percent"
    )


def format_score(value: float) -> str:
    """Formats a score, or a dash for what isn't defined."""
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: Any) -> Any:
    """Replaces NaN by None, which is what JSON can say."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
