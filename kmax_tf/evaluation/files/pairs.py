"""Pairs of true and predicted images, checked before anything is counted, and counting of one."""

from __future__ import annotations

import collections
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.evaluation.files.notes import notes_on_files
from kmax_tf.evaluation.files.pairing import Pair, match_images
from kmax_tf.evaluation.files.panoptic_file import ImageInfo, PanopticFile, compare_categories
from kmax_tf.evaluation.mask_ap import Instances
from kmax_tf.evaluation.matching import PredictedSegments, TrueSegments
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.overlaps import Overlaps, find_overlaps
from kmax_tf.evaluation.run_lengths import Runs, find_runs
from kmax_tf.files.images import read_id_map
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.coco_json import Segment, repeated, some
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.wording import count_of

# What is said of images that contradict themselves, by the key under which they are counted.
UNLISTED = "whose true PNG has ids that its JSON doesn't list; they count as no segment"
AREAS = "whose true JSON states areas that its PNG contradicts; the stated ones count"
NO_AREA = "whose true JSON states no areas; those of the PNG count"


class Pairing(NamedTuple):
    """Which images are evaluated.

    Attributes:
      pairs: in the order of the ground truth.
      way: in which they were matched, of `file_matching.WAYS`.
      notes: what should be said about the files.
    """

    pairs: list[Pair]
    way: str
    notes: list[str]


def pair_images(
    truth: PanopticFile,
    predictions: PanopticFile,
    label_space: LabelSpace,
    match_by: str | None = None,
) -> Pairing:
    """Finds the prediction of each image of the ground truth, and checks all that JSONs say.

    Args:
      truth: whose images are evaluated.
      predictions: of several for an image, the last one counts; others than those are left out.
      label_space: the classes.
      match_by: the way to match, one of `file_matching.WAYS`; None: whichever finds all.

    Raises:
      UserError: predictions or files are missing, contradict each other, or categories are unknown.
    """
    twice = repeated(image.image_id for image in truth.images)
    if twice:
        raise UserError(
            f"{truth.path} has more than one annotation of image_id {some(twice)}; keep one"
        )
    pairs, way = match_images(truth, predictions, match_by)
    _check_shared_pngs(truth, [pair.true for pair in pairs])
    _check_shared_pngs(predictions, [pair.predicted for pair in pairs])
    _check_pngs(pairs)
    notes = compare_categories(truth, predictions)
    _check_categories(pairs, predictions, label_space)
    return Pairing(pairs, way, [*notes, *notes_on_files(truth, predictions, pairs, label_space)])


def count_pair(
    pair: Pair, label_space: LabelSpace, metrics: PanopticMetrics, mask_ap: bool
) -> list[str]:
    """Counts one image.

    Args:
      pair: the image and its prediction.
      label_space: the classes.
      metrics: where it is counted.
      mask_ap: whether its instances are counted, too.

    Returns:
      What should be said about it: UNLISTED, AREAS, NO_AREA.

    Raises:
      UserError: a PNG is missing or corrupt, or contradicts its JSON or the other PNG.
    """
    true_ids, predicted_ids = read_id_map(pair.true.path), read_id_map(pair.predicted.path)
    if true_ids.shape != predicted_ids.shape:
        (height, width), (other_height, other_width) = true_ids.shape, predicted_ids.shape
        raise UserError(
            f"{pair.predicted.path} is {other_width} x {other_height}, but the ground truth "
            f"{pair.true.path} is {width} x {height}; predictions must have the image's own size"
        )
    overlaps = find_overlaps(true_ids, predicted_ids)
    index_of = {category.original_id: i for i, category in enumerate(label_space.classes)}
    true, said = _true_segments(pair.true.segments, overlaps, index_of)
    predicted = _predicted_segments(pair.predicted, overlaps, index_of)
    instances = None
    if mask_ap:
        truths, detections = (
            _instances(find_runs(ids), image.segments, label_space, index_of, image is pair.true)
            for ids, image in ((true_ids, pair.true), (predicted_ids, pair.predicted))
        )
        instances = Instances(truths, detections)
    try:
        metrics.add(pair.true.image_id, (true, predicted, overlaps), instances)
    except ValueError as error:
        raise UserError(f"{pair.true.path}: {error}") from error
    return said


def _check_shared_pngs(file: PanopticFile, images: Sequence[ImageInfo]) -> None:
    """Refuses a PNG that several images have: one result was written over the other."""
    owners: dict[str, ImageId] = {}
    for image in images:
        other = owners.setdefault(image.path, image.image_id)
        if other != image.image_id:
            raise UserError(
                f"{file.path} gives the images {other!r} and {image.image_id!r} the same PNG, "
                f"{image.path}; each image needs its own"
            )


def _check_pngs(pairs: Sequence[Pair]) -> None:
    infos = [info for pair in pairs for info in (pair.true, pair.predicted)]
    absent = [info for info in infos if not os.path.isfile(info.path)]
    if not absent:
        return
    first = absent[0]
    base = os.path.splitext(first.path)[0]
    folder = first.path[: -len(first.name)]
    near = (f"{base}.png", os.path.join(folder, os.path.basename(first.name)))
    there = next((path for path in near if os.path.isfile(path)), None)
    hint = f"; there is {there}: mend file_name in the JSON" if there else ""
    missing = some(info.path for info in absent)
    raise UserError(f"{len(absent)} of {count_of(len(infos), 'PNG')} missing: {missing}{hint}")


def _check_categories(
    pairs: Sequence[Pair], predictions: PanopticFile, label_space: LabelSpace
) -> None:
    known = {category.original_id for category in label_space.classes}
    unknown: dict[int, Pair] = {}
    for pair in pairs:
        for segment in pair.predicted.segments:
            if segment.category_id not in known:
                unknown.setdefault(segment.category_id, pair)
    if unknown:
        first = min(unknown)
        raise UserError(
            f"{predictions.path} has the category_id {some(sorted(unknown))}, which the ground "
            f"truth doesn't list (image_id {unknown[first].true.image_id} has {first}); known are "
            f"{min(known)} to {max(known)}. If they are ids of another numbering of the same "
            "classes, such as Cityscapes' train ids, name its description with --category-ids."
        )


def _true_segments(
    segments: Sequence[Segment], overlaps: Overlaps, index_of: dict[int, int]
) -> tuple[TrueSegments, list[str]]:
    """Says what the true ids of an image mean; entries without pixels follow those with."""
    ids = overlaps.true_ids.tolist()
    by_id = {segment.id: segment for segment in segments}
    rows = [by_id.get(i) for i in ids] + [by_id[i] for i in by_id.keys() - set(ids)]
    pixels = [*overlaps.true_areas.tolist(), *[0] * (len(rows) - len(ids))]
    areas = [float(p if s is None or s.area is None else s.area) for s, p in zip(rows, pixels)]
    last_crowd = {s.category_id: s.id for s in by_id.values() if s.crowd}
    true = TrueSegments(
        classes=np.array([-1 if s is None else index_of.get(s.category_id, -1) for s in rows], int),
        areas=np.array(areas),
        crowd=np.array([s is not None and bool(s.crowd) for s in rows], bool),
        forgiving=np.array(
            [s is not None and bool(s.crowd) and last_crowd[s.category_id] == s.id for s in rows],
            bool,
        ),
        unlabeled=np.array([*[i == 0 for i in ids], *[False] * (len(rows) - len(ids))], bool),
    )
    said = {
        UNLISTED: any(s is None and i for s, i in zip(rows, ids)),
        AREAS: areas != pixels,
        NO_AREA: any(s is not None and s.area is None for s in rows),
    }
    return true, [note for note, holds in said.items() if holds]


def _predicted_segments(
    image: ImageInfo, overlaps: Overlaps, index_of: dict[int, int]
) -> PredictedSegments:
    """Says what the predicted ids of an image mean."""
    ids = overlaps.predicted_ids.tolist()
    category_of = {segment.id: segment.category_id for segment in image.segments}
    unlisted = [i for i in ids if i and i not in category_of]
    absent = sorted(category_of.keys() - set(ids))
    if unlisted or absent:
        problem = (
            f"has the ids {some(unlisted)}, which its segments_info doesn't list"
            if unlisted
            else f"has no pixel of the ids {some(absent)} that its segments_info lists"
        )
        raise UserError(
            f"{image.path} (image_id {image.image_id}) {problem}; the PNG and the JSON of the "
            "prediction don't belong together. An id is red + 256 green + 65536 blue."
        )
    classes = [index_of[category_of[i]] if i in category_of else -1 for i in ids]
    return PredictedSegments(np.array(classes, int), overlaps.predicted_areas)


def _instances(
    runs: Runs,
    segments: Sequence[Segment],
    label_space: LabelSpace,
    index_of: dict[int, int],
    true: bool,
) -> list[dict[str, Any]]:
    """Describes the instances of an image for mask AP, in the order of their first pixels.

    The size of a true one is its stated area, that of a predicted one is counted.
    """
    place = {int(i): number for number, i in enumerate(runs.ids)}
    areas = runs.areas()
    first_run = collections.defaultdict(lambda: len(runs.index))
    for number, run in zip(*np.unique(runs.index, return_index=True)):
        first_run[int(number)] = int(run)
    found = []
    for segment in segments:
        index = index_of.get(segment.category_id)
        if index is None or not label_space.classes[index].thing:
            continue
        number = place.get(segment.id, -1)
        pixels = int(areas[number]) if number >= 0 else 0
        annotation = {
            "category_id": label_space.classes[index].id,
            "segmentation": runs.encode(number),
            "area": segment.area if true and segment.area is not None else pixels,
            "iscrowd": int(true and bool(segment.crowd)),
        }
        if not true:
            annotation["score"] = segment.score
        found.append((first_run[number], segment.id, annotation))
    return [annotation for _, _, annotation in sorted(found, key=lambda entry: entry[:2])]
