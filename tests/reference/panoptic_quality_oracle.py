"""Panoptic quality as the rules say it, segment by segment, in exact fractions.

Written from the rules of panopticapi, for tests: one mask a segment, nothing shared with kmax_tf.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from kmax_tf.labels import LabelSpace


@dataclasses.dataclass
class ClassCounts:
    """What is counted of a class; iou is the sum over matches."""

    iou: Fraction = Fraction(0)
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def pq(self) -> Fraction | None:
        segments = self.tp + Fraction(self.fp + self.fn, 2)
        return self.iou / segments if segments else None


def count(
    images: list[tuple[np.ndarray, np.ndarray]], labels: LabelSpace
) -> dict[int, ClassCounts]:
    """Counts (truth, prediction) pairs of [H, W] panoptic maps: {class id: counts}."""
    counts = {category.id: ClassCounts() for category in labels.classes}
    for truth, prediction in images:
        _count_image(truth, prediction, labels, counts)
    return counts


def _count_image(
    truth: np.ndarray, prediction: np.ndarray, labels: LabelSpace, counts: dict[int, ClassCounts]
) -> None:
    divisor = labels.label_divisor
    things = {category.id for category in labels.classes if category.thing}
    void = truth // divisor == labels.ignore_label
    predicted = _masks(prediction, labels)
    segments = _masks(truth, labels)
    crowd_ids = {i for i in segments if i // divisor in things and i % divisor == 0}
    crowds = {i: segments.pop(i) for i in crowd_ids}

    found_true, found_predicted = set(), set()
    for predicted_id, predicted_mask in predicted.items():
        for true_id, true_mask in segments.items():
            if predicted_id // divisor != true_id // divisor:
                continue
            inter = int((predicted_mask & true_mask).sum())
            union = int(((predicted_mask & ~void) | true_mask).sum())
            if Fraction(inter, union) > Fraction(1, 2):
                counts[true_id // divisor].tp += 1
                counts[true_id // divisor].iou += Fraction(inter, union)
                found_true.add(true_id)
                found_predicted.add(predicted_id)
    for true_id in segments.keys() - found_true:
        counts[true_id // divisor].fn += 1
    for predicted_id in predicted.keys() - found_predicted:
        mask = predicted[predicted_id]
        forgiven = int((mask & void).sum())
        for crowd_id, crowd_mask in crowds.items():
            if crowd_id // divisor == predicted_id // divisor:
                forgiven += int((mask & crowd_mask).sum())
        if Fraction(forgiven, int(mask.sum())) <= Fraction(1, 2):
            counts[predicted_id // divisor].fp += 1


def _masks(panoptic: np.ndarray, labels: LabelSpace) -> dict[int, np.ndarray]:
    ids = {i for i in panoptic.ravel().tolist() if i // labels.label_divisor != labels.ignore_label}
    return {i: panoptic == i for i in ids}
