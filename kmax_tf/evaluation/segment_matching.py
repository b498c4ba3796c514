"""Which segments of an image match, are missed or are wrong: the rules of panopticapi.

- A predicted and a true segment match where both have the same class, the true one is no crowd
  region, and their IoU is above 0.5.
- The union of an IoU leaves out what the prediction covers of unlabeled pixels; pixels of crowd
  stay in.
- A true segment without a match is a false negative, pixels or not; crowd regions never are.
- A predicted segment without a match is a false positive, unless more than half of it lies on
  unlabeled pixels and on the crowd region of its own class that forgives.

True areas are what the annotation says they are. Where they contradict its pixels, an IoU can
exceed 1 and a segment match twice, as they do in panopticapi.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kmax_tf.panoptic.overlaps import Overlaps
from kmax_tf.panoptic.runs import sum_by_index


@dataclasses.dataclass(frozen=True)
class TrueSegments:
    """The segments of the truth: first those with pixels, as in `Overlaps`, then any without.

    Attributes:
      classes: [S] class indices; -1 where an id is of no class.
      areas: [S] pixels, by the annotation.
      crowd: [S] bool, whether it is a crowd region, which neither matches nor is missed.
      forgiving: [S] bool, whether predictions of its class on it are forgiven.
      unlabeled: [S] bool, whether its pixels count nowhere.
    """

    classes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    forgiving: np.ndarray
    unlabeled: np.ndarray


@dataclasses.dataclass(frozen=True)
class PredictedSegments:
    """The segments of the prediction, as in `Overlaps`.

    Attributes:
      classes: [T] class indices; -1 where nothing is predicted.
      areas: [T] int64 pixels.
    """

    classes: np.ndarray
    areas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matches:
    """What became of the segments of an image.

    Attributes:
      iou: [M] float64 of the pairs that match.
      true: [M] index of the pair's true segment.
      predicted: [M] index of the pair's predicted segment.
      missed: indices of true segments that are false negatives.
      wrong: indices of predicted segments that are false positives.
    """

    iou: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    missed: np.ndarray
    wrong: np.ndarray


def match_segments(true: TrueSegments, predicted: PredictedSegments, overlaps: Overlaps) -> Matches:
    """Applies the rules to one image.

    Raises:
      ValueError: the stated area of a true segment leaves no pixel for a union.
    """
    of_true, of_predicted, shared = overlaps.pair_true, overlaps.pair_predicted, overlaps.shared
    same = (true.classes[of_true] == predicted.classes[of_predicted]) & (true.classes[of_true] >= 0)

    count = len(predicted.classes)
    on_unlabeled = true.unlabeled[of_true]
    unlabeled = sum_by_index(of_predicted[on_unlabeled], shared[on_unlabeled], count)
    forgiven = same & true.forgiving[of_true]
    own_crowd = sum_by_index(of_predicted[forgiven], shared[forgiven], count)

    pairs = np.flatnonzero(same & ~true.crowd[of_true])
    pair_true, pair_predicted, shared = of_true[pairs], of_predicted[pairs], shared[pairs]
    union = predicted.areas[pair_predicted] + true.areas[pair_true] - shared
    union = union - unlabeled[pair_predicted]
    if (union == 0).any():
        segment = pair_true[union == 0][0]
        raise ValueError(
            f"the true segment {overlaps.true_ids[segment]} has pixels, but its stated area is "
            f"{true.areas[segment]}"
        )
    iou = shared / union
    matched = iou > 0.5

    missed = (true.classes >= 0) & ~true.crowd
    missed[pair_true[matched]] = False
    wrong = (predicted.classes >= 0) & (2 * (unlabeled + own_crowd) <= predicted.areas)
    wrong[pair_predicted[matched]] = False
    return Matches(
        iou=iou[matched],
        true=pair_true[matched],
        predicted=pair_predicted[matched],
        missed=np.flatnonzero(missed),
        wrong=np.flatnonzero(wrong),
    )
