"""Every metric of panoptic segmentation at once, and its results as a file and as a table."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kmax_tf import files
from kmax_tf.evaluation.mask_ap import ImageId, MaskAP
from kmax_tf.evaluation.mean_iou import MeanIoU
from kmax_tf.evaluation.panoptic_quality import PanopticQuality

if TYPE_CHECKING:
    from kmax_tf.structures import LabelSpace

# Results are in percent; NaN (null in files) is what isn't defined: a class without segments, the
# things of a dataset of stuff.
Result = dict[str, Any]

_UNDEFINED = "-"


class PanopticMetrics:
    """Panoptic quality, mean IoU and mask AP of images, one after another.

    The result doesn't depend on the order of images or on how they were split and merged.

    Args:
      label_space: what the ids of the maps mean.
      mask_ap: whether to measure mask AP, which keeps the instances of every image (as run-length
        codes); without, memory is constant.
      resolution: at which the maps are given, for the report.
    """

    def __init__(
        self, label_space: LabelSpace, mask_ap: bool = True, resolution: str = "original"
    ) -> None:
        self._label_space = label_space
        self._resolution = resolution
        self._images = 0
        self._panoptic_quality = PanopticQuality(label_space)
        self._mean_iou = MeanIoU(label_space)
        self._mask_ap = MaskAP(label_space) if mask_ap else None

    def update(
        self, image_id: ImageId, truth: np.ndarray, prediction: Mapping[str, np.ndarray]
    ) -> None:
        """Counts one image.

        Args:
          image_id: unique (used by mask AP).
          truth: [H, W] int32 panoptic map. Instance 0 of a thing class is a crowd region.
          prediction: [H, W] maps of the same size: "panoptic" and "semantic" int32; for mask AP
            "semantic_scores" (class confidence of the pixel's segment) and "instance_scores" (mask
            confidence of the pixel) float32.

        Raises:
          ValueError: maps differ in size or hold an id of no class, or the image came twice.
        """
        panoptic = prediction["panoptic"]
        self._panoptic_quality.update(truth, panoptic)
        self._mean_iou.update(truth // self._label_space.label_divisor, prediction["semantic"])
        if self._mask_ap is not None:
            scores = prediction["semantic_scores"], prediction["instance_scores"]
            self._mask_ap.update(image_id, truth, panoptic, *scores)
        self._images += 1

    def merge(self, other: PanopticMetrics) -> None:
        """Adds what another one, of other images, has counted.

        Raises:
          ValueError: the other one measures something else or has an image of this one.
        """
        if self._resolution != other._resolution:
            raise ValueError("metrics at different resolutions can't be merged")
        if (self._mask_ap is None) != (other._mask_ap is None):
            raise ValueError("metrics with and without mask AP can't be merged")
        if self._mask_ap is not None and other._mask_ap is not None:
            self._mask_ap.merge(other._mask_ap)
        self._panoptic_quality.merge(other._panoptic_quality)
        self._mean_iou.merge(other._mean_iou)
        self._images += other._images

    def result(self) -> Result:
        """Returns the metrics of all images so far, in percent.

        Keys: "pq", "sq", "rq" (each {"all", "things", "stuff"}), "miou", "ap" (COCO's statistics,
        see `mask_ap.STATISTICS`; empty without mask AP), "per_class" ({name: {"pq", "sq", "rq",
        "iou", "tp", "fp", "fn", "thing"}}), "images", "resolution".
        """
        quality = self._panoptic_quality.result()
        mask_ap = {} if self._mask_ap is None else self._mask_ap.result()
        iou = self._mean_iou.per_class()
        per_class = {
            category.name: {
                "pq": float(100 * quality.pq[index]),
                "sq": float(100 * quality.sq[index]),
                "rq": float(100 * quality.rq[index]),
                "iou": float(100 * iou[index]),
                "tp": int(quality.tp[index]),
                "fp": int(quality.fp[index]),
                "fn": int(quality.fn[index]),
                "thing": category.thing,
            }
            for index, category in enumerate(self._label_space.classes)
        }
        return {
            "pq": _percent(quality.average(quality.pq)),
            "sq": _percent(quality.average(quality.sq)),
            "rq": _percent(quality.average(quality.rq)),
            "miou": 100 * self._mean_iou.result(),
            "ap": _percent(mask_ap),
            "per_class": per_class,
            "images": self._images,
            "resolution": self._resolution,
        }


def write_results(result: Result, folder: files.PathLike) -> str:
    """Writes FOLDER/metrics.json, whole or not at all; what isn't defined is null.

    Returns:
      The file's path.

    Raises:
      OutputError: the file can't be written.
    """
    path = os.path.join(os.fspath(folder), "metrics.json")
    files.write_atomically(path, json.dumps(_without_nan(result), indent=2) + "\n")
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
    images = "1 image" if result["images"] == 1 else f"{result['images']} images"
    return f"{', '.join(parts)}\n{images} at {result['resolution']} resolution; scores in percent"


def _number(value: float) -> str:
    return _UNDEFINED if math.isnan(value) else f"{value:.1f}"


def _percent(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def _without_nan(value: Any) -> Any:
    """Replaces NaN by None, which is what JSON can say."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
