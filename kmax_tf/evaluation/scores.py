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

_UNDEFINED = "-"


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
    classes = result["per_class"]
    width = max([len(name) for name in classes] + [len("class")])
    scores = "".join(f"{name:>8}" for name in ("PQ", "SQ", "RQ", "IoU"))
    counts = "".join(f"{name:>8}" for name in ("TP", "FP", "FN"))
    rule = "-" * (width + 7 * 8)
    lines = [f"{'class':<{width}}{scores}{counts}", rule]
    for kind, thing in (("things", True), ("stuff", False)):
        rows = {name: row for name, row in classes.items() if row["thing"] == thing}
        lines += [_class_row(name, row, width) for name, row in rows.items()]
        lines += [_group_row(result, kind, width), rule] if rows else []
    lines.append(_group_row(result, "all", width))
    lines += ["", _summary(result)]
    return "\n".join(line.rstrip() for line in lines)


def _class_row(name: str, row: Mapping[str, Any], width: int) -> str:
    scores = "".join(f"{_number(row[key]):>8}" for key in ("pq", "sq", "rq", "iou"))
    counts = "".join(f"{row[key]:>8}" for key in ("tp", "fp", "fn"))
    return f"{name:<{width}}{scores}{counts}"


def _group_row(result: Result, kind: str, width: int) -> str:
    """Formats the averages of things, stuff or all classes; the sums of their counts."""
    rows = [
        row
        for row in result["per_class"].values()
        if kind == "all" or row["thing"] == (kind == "things")
    ]
    iou = [row["iou"] for row in rows if not math.isnan(row["iou"])]
    averages = {key: result[key][kind] for key in ("pq", "sq", "rq")}
    averages["iou"] = sum(iou) / len(iou) if iou else float("nan")
    sums = {key: sum(row[key] for row in rows) for key in ("tp", "fp", "fn")}
    return _class_row(kind.upper(), {**averages, **sums}, width)


def _summary(result: Result) -> str:
    parts = [f"PQ {_number(result['pq']['all'])}", f"mIoU {_number(result['miou'])}"]
    if result["ap"]:
        ap = result["ap"]
        parts.append(f"mask AP {_number(ap['ap'])} (AP50 {_number(ap['ap50'])})")
    sizes = [f"{name} {_number(pq['all'])}" for name, pq in result["pq_by_size"].items()]
    images = count_of(result["images"], "image")
    return (
        f"{', '.join(parts)}\nPQ of segments by size: {', '.join(sizes)}\n"
        f"{images} at {result['resolution']} resolution; scores in percent"
    )


def _number(value: float) -> str:
    return _UNDEFINED if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: Any) -> Any:
    """Replaces NaN by None, which is what JSON can say."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
