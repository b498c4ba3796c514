"""Which segments of two maps share how many pixels, found in one pass.

Maps of segments change seldom from one pixel to the next. What is sorted and counted here are
therefore runs of pixels, in which neither map changes, and not pixels: a fiftieth of them in usual
images. (In noise there are as many, and sorting pixels would be faster.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kmax_tf.panoptic.runs import number_values, run_ends, sum_by_index, sum_by_value


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The S ids of one map, the T of another, and the O pairs of ids that share pixels.

    Attributes:
      true_ids: [S] ids of the first map, increasing.
      predicted_ids: [T] ids of the second map, increasing.
      true_areas: [S] int64 numbers of pixels.
      predicted_areas: [T] int64 numbers of pixels.
      pair_true: [O] index of the pair's first id.
      pair_predicted: [O] index of the pair's second id.
      shared: [O] int64 pixels that both have.
    """

    true_ids: np.ndarray
    predicted_ids: np.ndarray
    true_areas: np.ndarray
    predicted_areas: np.ndarray
    pair_true: np.ndarray
    pair_predicted: np.ndarray
    shared: np.ndarray


def find_overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Counts the pixels of each pair of ids of two maps [H, W] of integers.

    Raises:
      ValueError: the maps differ in size.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the ground truth is {truth.shape} and the prediction {prediction.shape}")
    first, second = truth.ravel(), prediction.ravel()
    ends = run_ends(first, second)
    true_ids, of_true = number_values(first[ends])
    predicted_ids, of_predicted = number_values(second[ends])
    width = max(len(predicted_ids), 1)
    pairs, shared = sum_by_value(
        of_true * width + of_predicted, np.diff(ends, prepend=-1), len(true_ids) * width
    )
    pair_true, pair_predicted = np.divmod(pairs, width)
    return Overlaps(
        true_ids=true_ids,
        predicted_ids=predicted_ids,
        true_areas=sum_by_index(pair_true, shared, len(true_ids)),
        predicted_areas=sum_by_index(pair_predicted, shared, len(predicted_ids)),
        pair_true=pair_true,
        pair_predicted=pair_predicted,
        shared=shared,
    )
