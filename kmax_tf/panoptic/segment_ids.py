"""From segment ids and what they mean to panoptic ids.

A row of an annotation is a few runs, so that all but finding them and filling them in again is work
on some thousand numbers an image.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.coco_json import repeated
from kmax_tf.panoptic.entries import Segment
from kmax_tf.panoptic.runs import find_runs
from kmax_tf.wording import count_of, some

# Segments of an image by class: the area of each in pixels.
Areas = dict[int, list[int]]


@dataclasses.dataclass(frozen=True)
class Conventions:
    """How a publisher's files are to be understood.

    Attributes:
      by_record_id: category_id is the class id of the records; else it is the original_id.
      unlabeled_categories: a segment of these is unlabeled.
      exact_areas: every segment has pixels, and as many as its area says. Where things were painted
        over each other, neither holds.
      crowd_is_unlabeled: crowd regions become unlabeled; else they keep their class.
      checked: contradictions are errors; else ids that aren't listed, and segments of unknown
        categories, are unlabeled.
    """

    by_record_id: bool = False
    unlabeled_categories: frozenset[int] = frozenset()
    exact_areas: bool = True
    crowd_is_unlabeled: bool = True
    checked: bool = True


COCO_CONVENTIONS = Conventions()


def panoptic_map(
    ids: np.ndarray,
    segments: Sequence[Segment],
    labels: LabelSpace,
    conventions: Conventions = COCO_CONVENTIONS,
) -> tuple[np.ndarray, Areas]:
    """Turns segment ids into panoptic ids.

    Instances are numbered from 1 in each thing class, in the order of the segments; stuff and
    crowds have instance 0.

    Args:
      ids: [H, W] int32 segment ids; 0 is unlabeled.
      segments: what the ids mean.
      labels: meaning of the category ids.
      conventions: of the publisher.

    Returns:
      [H, W] int32 panoptic ids, and the areas of the segments that are no crowds.

    Raises:
      BadExampleError: the map and the segments contradict each other, or a category is unknown.
    """
    runs = find_runs(ids)
    area_of = dict(zip(runs.values.tolist(), runs.areas.tolist()))
    if conventions.checked:
        _check_ids(area_of, segments)
        if conventions.exact_areas:
            _check_areas(area_of, segments)
    meaning, areas = _meanings(area_of, segments, labels, conventions)
    void = labels.void_panoptic_id
    table = np.array([meaning.get(segment_id, void) for segment_id in area_of], np.int32)
    return runs.paint(table), areas  # [H, W]


def number_instance(count: int, category: Category, labels: LabelSpace) -> int:
    """Returns the panoptic id of the count-th segment of a class, which starts at 1.

    Raises:
      BadExampleError: the label divisor doesn't hold as many instances.
    """
    instance = count if category.thing else 0
    if instance >= labels.label_divisor:
        raise BadExampleError(
            f"it has more than {count_of(labels.label_divisor - 1, 'instance')} of "
            f"{category.name}; copy the dataset description (dataset.textproto beside the "
            "records), raise label_divisor in the copy, and give it with --description"
        )
    return category.id * labels.label_divisor + instance


def _meanings(
    area_of: Mapping[int, int],
    segments: Sequence[Segment],
    labels: LabelSpace,
    conventions: Conventions,
) -> tuple[dict[int, int], Areas]:
    """Returns the panoptic id of each segment id, and the areas of those that are counted."""
    by_record_id = conventions.by_record_id
    classes = {(c.id if by_record_id else c.original_id): c for c in labels.classes}
    counts: dict[int, int] = collections.Counter()
    meaning: dict[int, int] = {}
    areas: Areas = {}
    for segment in segments:
        category = classes.get(segment.category_id)
        if segment.category_id in conventions.unlabeled_categories:
            continue
        if category is None:
            if not conventions.checked:
                continue
            raise BadExampleError(
                f"segment {segment.id} has the category {segment.category_id}, which is no "
                f"{'id' if by_record_id else 'original_id'} of the dataset '{labels.name}'; add "
                "the class where its list comes from (--description, or the JSON's categories), or "
                "use the description of this dataset"
            )
        if segment.crowd:
            if not conventions.crowd_is_unlabeled:
                meaning[segment.id] = category.id * labels.label_divisor
            continue
        counts[category.id] += 1
        meaning[segment.id] = number_instance(counts[category.id], category, labels)
        if segment.id in area_of:
            areas.setdefault(category.id, []).append(area_of[segment.id])
    return meaning, areas


def _check_ids(area_of: Mapping[int, int], segments: Sequence[Segment]) -> None:
    twice = repeated(segment.id for segment in segments)
    if twice:
        raise BadExampleError(
            f"the JSON lists the segment ids {some(twice)} more than once; ids must be unique in "
            "an image"
        )
    unlisted = sorted(area_of.keys() - {segment.id for segment in segments} - {0})
    if unlisted:
        pixels = count_of(sum(area_of[i] for i in unlisted), "pixel")
        raise BadExampleError(
            f"it has {pixels} of ids that the JSON does not list: {some(unlisted)}; the PNG and "
            "the JSON are not of one version"
        )


def _check_areas(area_of: Mapping[int, int], segments: Sequence[Segment]) -> None:
    absent = [segment.id for segment in segments if segment.id not in area_of]
    if absent:
        raise BadExampleError(
            f"it has no pixel of the segments {some(absent)} that the JSON lists; the PNG and the "
            "JSON are not of one version"
        )
    for segment in segments:
        area = area_of[segment.id]
        if segment.area is not None and segment.area != area:
            raise BadExampleError(
                f"segment {segment.id} covers {count_of(area, 'pixel')} but the JSON says "
                f"{segment.area}; the PNG and the JSON are not of one version"
            )
