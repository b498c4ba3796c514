"""Panoptic quality of COCO panoptic annotations as the official rules say it, in exact fractions.

Written from the rules of panopticapi, one mask a segment; nothing is shared with kmax_tf.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


class Counts:
    """What is counted of a category."""

    def __init__(self):
        self.iou, self.tp, self.fp, self.fn = Fraction(0), 0, 0, 0

    def as_tuple(self):
        return self.iou, self.tp, self.fp, self.fn


def count(images, categories) -> dict[int, Counts]:
    """Counts images by category.

    Args:
      images: (true ids, true segments_info, predicted ids, predicted segments_info) each; ids are
        [H, W], segments_info as in the JSON.
      categories: ids of the categories listed.
    """
    counts = {category: Counts() for category in categories}
    for image in images:
        count_image(*image, counts)
    return counts


def count_image(true_ids, true_info, predicted_ids, predicted_info, counts):
    true = {entry["id"]: entry for entry in true_info}  # of one id, the last
    predicted = {entry["id"]: entry for entry in predicted_info}
    matched_true, matched_predicted = set(), set()
    for true_id, true_entry in true.items():
        for predicted_id, predicted_entry in predicted.items():
            category = true_entry["category_id"]
            if category != predicted_entry["category_id"] or true_entry["iscrowd"]:
                continue
            iou = intersection_over_union(
                true_ids, true_id, true_entry["area"], predicted_ids == predicted_id
            )
            if iou > Fraction(1, 2):
                counts[category].tp += 1
                counts[category].iou += iou
                matched_true.add(true_id)
                matched_predicted.add(predicted_id)

    last_crowd = {}
    for true_id, true_entry in true.items():
        category = true_entry["category_id"]
        if true_entry["iscrowd"]:
            last_crowd[category] = true_id
        elif true_id not in matched_true:
            counts[category].fn += 1

    wrong = {i: entry for i, entry in predicted.items() if i not in matched_predicted}
    count_wrong(true_ids, predicted_ids, wrong, last_crowd, counts)


def count_wrong(true_ids, predicted_ids, predicted, last_crowd, counts):
    for predicted_id in predicted:
        category = predicted[predicted_id]["category_id"]
        mask = predicted_ids == predicted_id
        forgiven = int((mask & (true_ids == 0)).sum())
        if category in last_crowd:
            forgiven += int((mask & (true_ids == last_crowd[category])).sum())
        if Fraction(forgiven, int(mask.sum())) <= Fraction(1, 2):
            counts[category].fp += 1


def intersection_over_union(true_ids, true_id, true_area, mask) -> Fraction:
    """The area of the truth is what the JSON says; that of the prediction is counted."""
    shared = int((mask & (true_ids == true_id)).sum())
    if not shared:
        return Fraction(0)
    union = int(mask.sum()) + true_area - shared - int((mask & (true_ids == 0)).sum())
    return Fraction(shared, union) if union > 0 else Fraction(0)


def averages(counts, things) -> dict[str, tuple]:
    """Returns (PQ, SQ, RQ) as fractions of all, things and stuff; None where none has counts."""
    groups = {
        "all": list(counts),
        "things": [category for category in counts if category in things],
        "stuff": [category for category in counts if category not in things],
    }
    return {name: average([counts[c] for c in group]) for name, group in groups.items()}


def average(counts):
    rows = []
    for iou, tp, fp, fn in (c.as_tuple() for c in counts):
        segments = tp + Fraction(fp + fn, 2)
        if segments:
            rows.append((iou / segments, iou / tp if tp else Fraction(0), tp / segments))
    if not rows:
        return None
    return tuple(sum(values) / len(rows) for values in zip(*rows))


def random_image(rng: np.random.Generator, categories):
    """Draws an image that uses every freedom of the format: see `count`."""
    shape = tuple(rng.integers(1, 9, 2))
    ids = np.arange(7)  # 0: unlabeled
    true_ids = rng.choice(ids, shape)
    agree = rng.random(shape) < rng.choice([0.3, 0.8, 0.95])
    predicted_ids = np.where(agree, true_ids, rng.choice(ids, shape))
    category_of = rng.choice(categories, 10)
    true_info = []
    for i in range(1, 9):  # 7 and 8 never have pixels, and some that do are not listed
        area = int((true_ids == i).sum())
        if rng.random() < 0.85 if area else rng.random() < 0.1:
            stated = area if rng.random() < 0.8 else int(rng.integers(1, 2 * area + 2))
            crowd = int(rng.random() < 0.25)
            true_info.append(segment(i, category_of[i], area=max(stated, 1), iscrowd=crowd))
    if true_info and rng.random() < 0.2:  # an id twice
        true_info.append({**true_info[0], "category_id": int(rng.choice(categories))})
    rng.shuffle(true_info)
    predicted_info = []
    for i in np.unique(predicted_ids).tolist():
        if i or rng.random() < 0.15:  # 0 can be a segment of the prediction
            category = category_of[i] if rng.random() < 0.8 else rng.choice(categories)
            predicted_info.append(segment(i, category, score=float(rng.random())))
    return true_ids, true_info, predicted_ids, predicted_info


def segment(segment_id, category_id, **more):
    return {"id": int(segment_id), "category_id": int(category_id), **more}
