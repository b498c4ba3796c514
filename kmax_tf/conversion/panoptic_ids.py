"""From segment ids and what they mean to panoptic ids, by runs of equal pixels.

A row of an annotation is a few runs, so that all but finding them and filling them in again is work
on some thousand numbers an image.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kmax_tf.files.images import BadExampleError
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.coco_json import Segment
from kmax_tf.wording import count_of

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
    """

    by_record_id: bool = False
    unlabeled_categories: frozenset[int] = frozenset()
    exact_areas: bool = True


COCO_CONVENTIONS = Conventions()


def panoptic_label(
    ids: np.ndarray,
    segments: Sequence[Segment],
    labels: LabelSpace,
    conventions: Conventions = COCO_CONVENTIONS,
    treat_crowd_as_ignore: bool = True,
) -> tuple[np.ndarray, Areas]:
    """Turns segment ids into panoptic ids.

    Instances are numbered from 1 in each thing class, in the order of the segments; stuff and
    crowds have instance 0.

    Args:
      ids: [H, W] int32 segment ids; 0 is unlabeled.
      segments: what the ids mean.
      labels: meaning of the category ids.
      conventions: of the publisher.
      treat_crowd_as_ignore: whether crowd regions become unlabeled.

    Returns:
      [H, W] int32 panoptic ids, and the areas of the segments that are no crowds.

    Raises:
      BadExampleError: the map and the segments contradict each other, or a category is unknown.
    """
    _check_unique(segments)
    flat = ids.reshape(-1)  # [P]
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    run_ids = flat[starts]
    # Id 0, unlabeled, comes first; searchsorted needs increasing ids.
    order = sorted(range(len(segments)), key=lambda i: segments[i].id)
    known = np.array([0] + [segments[i].id for i in order], np.int64)
    positions = np.minimum(np.searchsorted(known, run_ids), len(known) - 1)
    unknown = known[positions] != run_ids
    if unknown.any():
        pixels = count_of(lengths[unknown].sum(), "pixel")
        raise BadExampleError(
            f"it has {pixels} of ids that the JSON does not list: "
            f"{_some(np.unique(run_ids[unknown]))}; the PNG and the JSON are not of one version"
        )
    areas = np.zeros(len(segments), np.int64)
    areas[order] = np.bincount(positions, lengths, minlength=len(known))[1:]
    if conventions.exact_areas:
        _check_areas(segments, areas)
    values, areas_of_classes = _values(segments, areas, labels, conventions, treat_crowd_as_ignore)
    table = np.array([labels.void_panoptic_id] + [values[i] for i in order], np.int32)
    return np.repeat(table[positions], lengths).reshape(ids.shape), areas_of_classes  # [H, W]


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


def _values(
    segments: Sequence[Segment],
    areas: np.ndarray,
    labels: LabelSpace,
    conventions: Conventions,
    treat_crowd_as_ignore: bool,
) -> tuple[list[int], Areas]:
    """Returns the panoptic id of each segment, and the areas of those that are counted."""
    by_record_id = conventions.by_record_id
    classes = {(c.id if by_record_id else c.original_id): c for c in labels.classes}
    counts: dict[int, int] = collections.Counter()
    found: Areas = {}
    values = []
    for segment, area in zip(segments, areas.tolist()):
        category = classes.get(segment.category_id)
        if segment.category_id in conventions.unlabeled_categories:
            values.append(labels.void_panoptic_id)
        elif category is None:
            raise BadExampleError(
                f"segment {segment.id} has the category {segment.category_id}, which is no "
                f"{'id' if by_record_id else 'original_id'} of the dataset '{labels.name}'; add "
                "the class where its list comes from (--description, or the JSON's categories), or "
                "use the description of this dataset"
            )
        elif segment.crowd:
            crowd = category.id * labels.label_divisor
            values.append(labels.void_panoptic_id if treat_crowd_as_ignore else crowd)
        else:
            counts[category.id] += 1
            values.append(number_instance(counts[category.id], category, labels))
            if area:
                found.setdefault(category.id, []).append(area)
    return values, found


def _check_unique(segments: Iterable[Segment]) -> None:
    counts = collections.Counter(segment.id for segment in segments)
    repeated = [segment_id for segment_id, count in counts.items() if count > 1]
    if repeated:
        raise BadExampleError(
            f"the JSON lists the segment ids {_some(repeated)} more than once; ids must be unique "
            "in an image"
        )


def _check_areas(segments: Sequence[Segment], areas: np.ndarray) -> None:
    absent = [segment.id for segment, area in zip(segments, areas) if not area]
    if absent:
        raise BadExampleError(
            f"it has no pixel of the segments {_some(absent)} that the JSON lists; the PNG and the "
            "JSON are not of one version"
        )
    for segment, area in zip(segments, areas):
        if segment.area is not None and segment.area != area:
            raise BadExampleError(
                f"segment {segment.id} covers {count_of(area, 'pixel')} but the JSON says "
                f"{segment.area}; the PNG and the JSON are not of one version"
            )


def _some(ids: Any) -> str:
    shown = ", ".join(str(value) for value in list(ids)[:5])
    return shown + (", ..." if len(ids) > 5 else "")
