"""Counting of predictions in files, image by image, shared by several processes."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.evaluation.from_files.pairing import Pair
from kmax_tf.evaluation.from_files.panoptic_file import ImageInfo
from kmax_tf.evaluation.mask_ap import Instances
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.segment_matching import PredictedSegments, TrueSegments
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import Advance, keep_memory, run_tasks
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.entries import Segment
from kmax_tf.panoptic.overlaps import Overlaps, find_overlaps
from kmax_tf.panoptic.png import read_ids
from kmax_tf.panoptic.runs import find_runs
from kmax_tf.wording import count_of, some

# Images of a task: enough that handing it over weighs little, few enough to share evenly.
_MOST_IN_A_TASK = 10
_TASKS_A_WORKER = 4

# What is said of images that contradict themselves, by the key under which they are counted.
UNLISTED = "whose true PNG has ids that its JSON doesn't list; they count as no segment"
AREAS = "whose true JSON states areas that its PNG contradicts; the stated ones count"
NO_AREA = "whose true JSON states no areas; those of the PNG count"


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: LabelSpace,
    mask_ap: bool,
    workers: int,
    progress: Progress,
) -> tuple[PanopticMetrics, list[str]]:
    """Measures pairs of PNGs; the result doesn't depend on the number of workers.

    Args:
      pairs: the images.
      labels: the classes.
      mask_ap: whether to measure mask AP, for which predictions must have scores.
      workers: number of processes at most, this one included.
      progress: gets a step an image.

    Returns:
      The metrics, and what should be said about the files.

    Raises:
      UserError: a file is missing, corrupt or contradicts another one; it says which.
    """
    keep_memory()
    metrics = PanopticMetrics(labels, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    size = max(1, min(_MOST_IN_A_TASK, len(pairs) // (_TASKS_A_WORKER * workers)))
    chunks = [list(pairs[first : first + size]) for first in range(0, len(pairs), size)]
    count = functools.partial(_count_chunk, labels=labels, mask_ap=mask_ap)
    for counted, notes in run_tasks(count, chunks, workers, progress):
        metrics.merge(counted)
        said.update(notes)
    return metrics, [f"{count_of(n, 'image')} {note}" for note, n in sorted(said.items())]


def _count_chunk(
    pairs: Sequence[Pair], advance: Advance, labels: LabelSpace, mask_ap: bool
) -> tuple[PanopticMetrics, dict[str, int]]:
    """Counts some images: the metrics, and what to say of how many of them."""
    metrics = PanopticMetrics(labels, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    for pair in pairs:
        said.update(count_pair(pair, labels, metrics, mask_ap))
        advance()
    return metrics, said


def count_pair(
    pair: Pair, labels: LabelSpace, metrics: PanopticMetrics, mask_ap: bool
) -> list[str]:
    """Counts one image.

    Args:
      pair: the image and its prediction.
      labels: the classes.
      metrics: where it is counted.
      mask_ap: whether its instances are counted, too.

    Returns:
      What should be said about it: UNLISTED, AREAS, NO_AREA.

    Raises:
      UserError: a PNG is missing or corrupt, or contradicts its JSON or the other PNG.
    """
    true_ids, predicted_ids = read_ids(pair.true.path), read_ids(pair.predicted.path)
    if true_ids.shape != predicted_ids.shape:
        (height, width), (other_height, other_width) = true_ids.shape, predicted_ids.shape
        raise UserError(
            f"{pair.predicted.path} is {other_width} x {other_height}, but the ground truth "
            f"{pair.true.path} is {width} x {height}; predictions must have the image's own size"
        )
    overlaps = find_overlaps(true_ids, predicted_ids)
    index_of = {category.original_id: i for i, category in enumerate(labels.classes)}
    true, said = _true_segments(pair.true.segments, overlaps, index_of)
    predicted = _predicted_segments(pair.predicted, overlaps, index_of)
    instances = None
    if mask_ap:
        truths, detections = (
            _instances(ids, image.segments, labels, index_of, image is pair.true)
            for ids, image in ((true_ids, pair.true), (predicted_ids, pair.predicted))
        )
        instances = Instances(truths, detections)
    try:
        metrics.add(pair.true.image_id, (true, predicted, overlaps), instances)
    except ValueError as error:
        raise UserError(f"{pair.true.path}: {error}") from error
    return said


def _true_segments(
    segments: Sequence[Segment], overlaps: Overlaps, index_of: dict[int, int]
) -> tuple[TrueSegments, list[str]]:
    """Says what the true ids of an image mean; entries without pixels follow those with."""
    ids = overlaps.true_ids.tolist()
    by_id = {segment.id: segment for segment in segments}
    rows = [by_id.get(i) for i in ids] + [by_id[i] for i in by_id.keys() - set(ids)]
    pixels = [*overlaps.true_areas.tolist(), *[0] * (len(rows) - len(ids))]
    areas = [float(p if s is None or s.area is None else s.area) for s, p in zip(rows, pixels)]
    last_crowd = {s.category_id: s for s in by_id.values() if s.crowd}
    true = TrueSegments(
        classes=np.array([-1 if s is None else index_of.get(s.category_id, -1) for s in rows], int),
        areas=np.array(areas),
        crowd=np.array([s is not None and bool(s.crowd) for s in rows], bool),
        forgiving=np.array(
            [s is not None and last_crowd.get(s.category_id) is s for s in rows], bool
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
    ids: np.ndarray,
    segments: Sequence[Segment],
    labels: LabelSpace,
    index_of: dict[int, int],
    true: bool,
) -> list[dict[str, Any]]:
    """Describes the instances of an image for mask AP, in the order of their first pixels.

    The size of a true one is its stated area, that of a predicted one is counted.
    """
    runs = find_runs(ids, columns=True)
    place = {i: number for number, i in enumerate(runs.values.tolist())}
    first_run = collections.defaultdict(lambda: len(runs.index))
    for number, run in zip(*np.unique(runs.index, return_index=True)):
        first_run[int(number)] = int(run)
    found = []
    for segment in segments:
        index = index_of.get(segment.category_id)
        if index is None or not labels.classes[index].thing:
            continue
        number = place.get(segment.id, -1)
        pixels = int(runs.areas[number]) if number >= 0 else 0
        annotation = {
            "category_id": labels.classes[index].id,
            "segmentation": runs.encode(number),
            "area": segment.area if true and segment.area is not None else pixels,
            "iscrowd": int(true and bool(segment.crowd)),
        }
        if not true:
            annotation["score"] = segment.score
        found.append((first_run[number], segment.id, annotation))
    return [annotation for _, _, annotation in sorted(found, key=lambda entry: entry[:2])]
