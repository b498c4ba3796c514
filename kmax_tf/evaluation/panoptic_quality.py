"""Panoptic quality: PQ, SQ and RQ (Kirillov et al. 2019, "Panoptic Segmentation", section 4).

The rules are those of panopticapi, the official implementation:

- A predicted and a true segment match where both have the same class and an IoU above 0.5.
- The union of an IoU leaves out pixels that are unlabeled in the truth; pixels of crowd stay in.
- An unmatched true segment is a false negative; crowd regions are never.
- An unmatched predicted segment is a false positive, unless more than half of it is unlabeled in
  the truth or a crowd region of its own class.
- Averages leave out classes with neither true nor (counted) predicted segments.

A crowd region is a thing class with instance 0 in the truth. All crowd regions of a class in an
image are one; where an image has several, panopticapi forgives for the last of them only.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from kmax_tf.evaluation.segments import Segments, count_values, find_segments

if TYPE_CHECKING:
    from kmax_tf.structures import LabelSpace

# A matched IoU is a float64 in (0.5, 1], thus a whole number of 2^-53: summed as Python integers,
# IoUs give the exact sum in every order, and it is rounded once, in the result.
_IOU_BITS = 53


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

    Memory is constant: four numbers a class. The sums are integers (see `_IOU_BITS`), so merging
    is exact.
    """

    def __init__(self, label_space: LabelSpace) -> None:
        self._label_space = label_space
        num_classes = label_space.num_classes
        self._tp = np.zeros(num_classes, np.int64)
        self._fp = np.zeros(num_classes, np.int64)
        self._fn = np.zeros(num_classes, np.int64)
        self._iou_units = np.zeros(num_classes, object)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Counts one image.

        Args:
          truth: [H, W] integer panoptic map.
          prediction: [H, W] integer panoptic map.

        Raises:
          ValueError: the maps differ in size or hold an id of no class.
        """
        if truth.shape != prediction.shape:
            raise ValueError(
                f"the ground truth is {truth.shape} and the prediction {prediction.shape}"
            )
        true = find_segments(truth, self._label_space, "ground truth")
        predicted = find_segments(prediction, self._label_space, "prediction")
        self._count(true, predicted)

    def merge(self, other: PanopticQuality) -> None:
        """Adds what another one has counted.

        Raises:
          ValueError: the other one is of another label space.
        """
        if self._label_space != other._label_space:
            raise ValueError("panoptic qualities of different label spaces can't be merged")
        self._tp += other._tp
        self._fp += other._fp
        self._fn += other._fn
        self._iou_units += other._iou_units

    def result(self) -> PanopticQualityResult:
        """Returns what the images counted so far amount to."""
        iou_sum = np.array([units / 2**_IOU_BITS for units in self._iou_units], np.float64)
        tp, fp, fn = self._tp.copy(), self._fp.copy(), self._fn.copy()
        present = tp + fp + fn > 0
        segments = np.where(present, tp + 0.5 * fp + 0.5 * fn, 1.0)
        return PanopticQualityResult(
            pq=np.where(present, iou_sum / segments, np.nan),
            sq=np.where(present, iou_sum / np.maximum(tp, 1), np.nan),
            rq=np.where(present, tp / segments, np.nan),
            tp=tp,
            fp=fp,
            fn=fn,
            thing=self._label_space.is_thing.copy(),
        )

    def _count(self, true: Segments, predicted: Segments) -> None:
        """Adds the matches, false positives and false negatives of an image."""
        pair_true, pair_predicted, shared = _overlaps(true, predicted)
        crowd = self._crowd(true)
        same = true.classes[pair_true] == predicted.classes[pair_predicted]

        on_unlabeled = (true.classes < 0)[pair_true]
        on_own_crowd = same & crowd[pair_true]
        count = len(predicted.ids)
        unlabeled = _sum_by(pair_predicted[on_unlabeled], shared[on_unlabeled], count)
        own_crowd = _sum_by(pair_predicted[on_own_crowd], shared[on_own_crowd], count)

        union = true.areas[pair_true] + predicted.areas[pair_predicted] - shared
        union -= unlabeled[pair_predicted]
        countable = same & ~on_unlabeled & ~crowd[pair_true]
        matched = countable & (2 * shared > union)  # IoU > 0.5, in integers

        missed = (true.classes >= 0) & ~crowd
        missed[pair_true[matched]] = False
        wrong = (predicted.classes >= 0) & (2 * (unlabeled + own_crowd) <= predicted.areas)
        wrong[pair_predicted[matched]] = False

        matched_classes = true.classes[pair_true[matched]]
        self._tp += self._per_class(matched_classes)
        self._fn += self._per_class(true.classes[missed])
        self._fp += self._per_class(predicted.classes[wrong])
        iou = shared[matched] / union[matched]
        units = np.ldexp(iou, _IOU_BITS).astype(np.int64).astype(object)
        np.add.at(self._iou_units, matched_classes, units)

    def _crowd(self, true: Segments) -> np.ndarray:
        """Returns [S] bool: which true segments are crowd regions."""
        thing = np.append(self._label_space.is_thing, False)[true.classes]
        return thing & (true.ids % self._label_space.label_divisor == 0)

    def _per_class(self, classes: np.ndarray) -> np.ndarray:
        """Returns [K] int64: how often each class occurs."""
        return np.bincount(classes, minlength=self._label_space.num_classes)


def _overlaps(true: Segments, predicted: Segments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the pairs of segments that share pixels.

    Returns:
      [O] indices of true segments, [O] indices of predicted segments, [O] int64 pixels shared.
    """
    pairs, shared = count_values(true.index * len(predicted.ids) + predicted.index)
    pair_true, pair_predicted = np.divmod(pairs, max(len(predicted.ids), 1))
    return pair_true, pair_predicted, shared


def _sum_by(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums values [O] by index [O]: [count] int64 (exact: pixels of an image are below 2^53)."""
    return np.bincount(index, weights=values, minlength=count).astype(np.int64)


def _mean(values: np.ndarray) -> float:
    """Returns the mean of the values that aren't NaN; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
