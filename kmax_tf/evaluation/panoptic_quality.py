"""Panoptic quality: PQ, SQ and RQ (Kirillov et al. 2019, "Panoptic Segmentation", section 4).

Which segments match is decided in `segment_matching`. Here matches are counted: averages leave out
classes with neither true nor (counted) predicted segments, as in panopticapi.

In panoptic maps, a crowd region is a thing class with instance 0 in the truth. All crowd regions of
a class in an image are then one; where an annotation has several, panopticapi, and our evaluation
of files, forgives for the last of them only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmax_tf.evaluation.segment_matching import (
    Matches,
    PredictedSegments,
    TrueSegments,
    match_segments,
)
from kmax_tf.panoptic.overlaps import Overlaps, find_overlaps
from kmax_tf.panoptic.segments import class_indices, require_map

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# A matched IoU is a float64 above 0.5, thus a whole number of 2^-53: summed as Python integers,
# IoUs give the exact sum in every order, and it is rounded once, in the result.
_IOU_BITS = 53
# Least areas (pixels) of a medium and of a large segment: those of COCO's mask AP.
SIZES = ("small", "medium", "large")
_LEAST_AREAS = (32**2, 96**2)


class ImageQuality(NamedTuple):
    """What was counted of one image, all classes alike."""

    iou: float
    tp: int
    fp: int
    fn: int

    @property
    def pq(self) -> float:
        """Returns the panoptic quality (0..1) over all segments; NaN where there is none."""
        segments = self.tp + 0.5 * (self.fp + self.fn)
        return self.iou / segments if segments else float("nan")


@dataclasses.dataclass(frozen=True)
class PanopticQualityResult:
    """Panoptic quality of each class, as shares (0..1), in the order of `LabelSpace.classes`.

    Attributes:
      pq: [K] float64, SQ * RQ; NaN for classes without a segment, likewise sq and rq.
      sq: [K] float64, mean IoU of matched segments (0 where none matched).
      rq: [K] float64, F1 score of the segments.
      tp: [K] int64, matched segments.
      fp: [K] int64, false positives.
      fn: [K] int64, false negatives.
      thing: [K] bool.
    """

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    thing: np.ndarray

    def average(self, values: np.ndarray) -> dict[str, float]:
        """Averages over classes that have segments.

        Args:
          values: [K], one of pq, sq, rq.

        Returns:
          {"all", "things", "stuff"}; NaN where no such class has segments.
        """
        groups = {"all": np.ones_like(self.thing), "things": self.thing, "stuff": ~self.thing}
        return {name: _mean(values[group]) for name, group in groups.items()}


class PanopticQuality:
    """Counts matches of images; the result is the same in every order and split of the images.

    Memory is constant: four numbers a class and size. The sums are integers (see `_IOU_BITS`), so
    merging is exact.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self._label_space = labels
        shape = (labels.num_classes, len(SIZES))
        self._counts = {name: np.zeros(shape, np.int64) for name in ("tp", "fp", "fn")}
        self._counts["iou"] = np.zeros(shape, object)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> ImageQuality:
        """Counts one image.

        Args:
          truth: [H, W] integer panoptic map.
          prediction: [H, W] integer panoptic map.

        Raises:
          ValueError: the maps differ in size or hold an id of no class.
        """
        require_map(truth, "ground truth")
        require_map(prediction, "prediction")
        overlaps = find_overlaps(truth, prediction)
        labels, divisor = self._label_space, self._label_space.label_divisor
        true = class_indices(overlaps.true_ids // divisor, labels, "ground truth")
        predicted = class_indices(overlaps.predicted_ids // divisor, labels, "prediction")
        thing = np.append(labels.is_thing, False)[true]
        crowd = thing & (overlaps.true_ids % divisor == 0)
        return self.add(
            TrueSegments(true, overlaps.true_areas, crowd, crowd, true < 0),
            PredictedSegments(predicted, overlaps.predicted_areas),
            overlaps,
        )

    def add(
        self, true: TrueSegments, predicted: PredictedSegments, overlaps: Overlaps
    ) -> ImageQuality:
        """Counts one image whose segments are known.

        Raises:
          ValueError: a stated area is impossible.
        """
        matches = match_segments(true, predicted, overlaps)
        self._count(matches, true, predicted)
        return ImageQuality(
            math.fsum(matches.iou), len(matches.iou), len(matches.wrong), len(matches.missed)
        )

    def state(self) -> dict[str, np.ndarray]:
        """Returns all that was counted."""
        return self._counts

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Adds what another one, of the same classes, has counted: arrays, or lists of numbers."""
        for name in self._counts:
            self._counts[name] += np.array(state[name], self._counts[name].dtype)

    def result(self) -> PanopticQualityResult:
        """Returns what the images counted so far amount to."""
        return self._result(**{name: counts.sum(axis=1) for name, counts in self._counts.items()})

    def result_by_size(self) -> dict[str, PanopticQualityResult]:
        """Returns the same of small, medium and large segments alone (`SIZES`).

        Matches and false negatives have the size of the true segment, false positives that of the
        predicted one.
        """
        return {
            size: self._result(**{name: counts[:, i] for name, counts in self._counts.items()})
            for i, size in enumerate(SIZES)
        }

    def _result(
        self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, iou: np.ndarray
    ) -> PanopticQualityResult:
        """Turns counts [K] into scores."""
        iou_sum = np.array([units / 2**_IOU_BITS for units in iou], np.float64)
        present = tp + fp + fn > 0
        segments = np.where(present, tp + 0.5 * fp + 0.5 * fn, 1.0)
        return PanopticQualityResult(
            pq=np.where(present, iou_sum / segments, np.nan),
            sq=np.where(present, iou_sum / np.maximum(tp, 1), np.nan),
            rq=np.where(present, tp / segments, np.nan),
            tp=tp.copy(),
            fp=fp.copy(),
            fn=fn.copy(),
            thing=self._label_space.is_thing.copy(),
        )

    def _count(self, matches: Matches, true: TrueSegments, predicted: PredictedSegments) -> None:
        """Adds the matches, false positives and false negatives of an image."""
        matched = _cells(true, matches.true)
        np.add.at(self._counts["tp"], matched, 1)
        np.add.at(self._counts["fn"], _cells(true, matches.missed), 1)
        np.add.at(self._counts["fp"], _cells(predicted, matches.wrong), 1)
        units = [int(math.ldexp(iou, _IOU_BITS)) for iou in matches.iou.tolist()]
        np.add.at(self._counts["iou"], matched, np.array(units, object))


def _cells(
    segments: TrueSegments | PredictedSegments, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class and the size of the segments with some indices."""
    sizes = np.searchsorted(_LEAST_AREAS, segments.areas[index], side="right")
    return segments.classes[index], sizes


def _mean(values: np.ndarray) -> float:
    """Returns the mean of the values that aren't NaN; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return math.fsum(defined) / defined.size if defined.size else float("nan")
