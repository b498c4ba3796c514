"""Entries of COCO's panoptic JSON: an image's annotation, its segments, the categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError, ImageId
from kmax_tf.panoptic.png import LARGEST_ID

# Where a label is from, as its attributes say: a model, a model and a person, a person.
ORIGINS = PREDICTED, CORRECTED, DRAWN = "prediction", "corrected", "drawn"
# Ids of categories are int32 wherever labels are.
LARGEST_CATEGORY_ID = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Segment:
    """An entry of segments_info.

    Attributes:
      id: color of the segment in the PNG.
      category_id: of the category list.
      area: in pixels, as stated; None where it isn't.
      crowd: whether it is a crowd region; None where nothing is said.
      score: confidence of a prediction; None where there is none.
    """

    id: int
    category_id: int
    area: float | None = None
    crowd: bool | None = None
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Annotation:
    """An entry of annotations.

    Attributes:
      image_id: of the image.
      file_name: of the PNG, a path below its folder.
      segments: in order; ids may repeat.
    """

    image_id: ImageId
    file_name: str
    segments: tuple[Segment, ...]


@dataclasses.dataclass(frozen=True)
class CategoryEntry:
    """A class as its owner lists it: an entry of categories, or a row of a table.

    Attributes:
      id: what files call it: a category id, or a value of pixels.
      name: of the class.
      thing: whether it is countable.
      color: red, green, blue; None is any.
    """

    id: int
    name: str
    thing: bool
    color: tuple[int, int, int] | None = None


def parse_annotation(entry: Mapping[str, Any], least_id: int) -> Annotation:
    """Reads an entry of annotations.

    Args:
      entry: as it stands there.
      least_id: of a segment; 0 is "unlabeled", but predictions may list it.

    Raises:
      FieldError: a field has not the type, or not a value, that it must have.
    """
    image_id = fields.image_id(entry, "image_id")
    name = fields.file_name(entry)
    listed = fields.required(entry, "segments_info")
    if not isinstance(listed, list):
        raise FieldError(f"segments_info must be a list, not {fields.show(listed)}")
    segments = []
    for number, info in enumerate(listed):
        try:
            segments.append(_parse_segment(info, least_id))
        except FieldError as error:
            raise FieldError(f"segments_info[{number}]: {error}") from error
    return Annotation(image_id, name, tuple(segments))


def _parse_segment(info: Any, least_id: int) -> Segment:
    """Reads an entry of segments_info."""
    if fields.require_object(info).get("category_id") == -1:
        raise FieldError(
            "category_id is -1, which no class can have; leave a segment without a class out of "
            "segments_info, and make its pixels 0"
        )
    return Segment(
        id=fields.whole(info, "id", least_id, LARGEST_ID),
        category_id=fields.whole(info, "category_id", 0, LARGEST_CATEGORY_ID),
        area=fields.finite(info, "area", 0),
        crowd=fields.flag(info, "iscrowd") if "iscrowd" in info else None,
        score=fields.finite(info, "score"),
    )


def parse_category(entry: Mapping[str, Any]) -> CategoryEntry:
    """Reads an entry of categories.

    Raises:
      FieldError: a field has not the type, or not a value, that it must have.
    """
    try:
        return CategoryEntry(
            id=fields.whole(entry, "id", 0, LARGEST_CATEGORY_ID),
            name=fields.text(entry, "name"),
            thing=fields.flag(entry, "isthing"),
            color=fields.color(entry, "color"),
        )
    except FieldError as error:
        raise FieldError(f"{error}; each has an id, a name and isthing") from error
