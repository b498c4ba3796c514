"""The JSON of COCO's panoptic format, each field read rightly or refused in a sentence.

Nothing is looked at but the JSON: whether PNGs and images agree with it is the callers' part.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.errors import UserError
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError, ImageId

# A segment's id is a color: red + 256 green + 65536 blue.
LARGEST_SEGMENT_ID = 2**24 - 1
# Ids of categories are int32 wherever labels are.
_LARGEST_CATEGORY_ID = 2**31 - 1
# Keys of annotations of COCO's other formats.
_OTHER_KINDS = {"caption": "captions", "keypoints": "keypoints", "segmentation": "instances"}


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
    """An entry of categories; the color is None where there is none."""

    id: int
    name: str
    thing: bool
    color: tuple[int, int, int] | None


def parse_json(data: bytes, path: str) -> dict[str, Any]:
    """Parses a file of the format: UTF-8 with or without a byte order mark, or UTF-16.

    Args:
      data: its content.
      path: for errors.

    Raises:
      UserError: it is no JSON object that lists annotations.
    """
    try:
        content = json.loads(data)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} isn't UTF-8 (byte {error.start} is {data[error.start]:#x}); save it as UTF-8, "
            "or copy it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); copy or download it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        what = "is a list, as results of detection are" if isinstance(content, list) else "isn't"
        raise UserError(
            f"{path} must be a JSON object with the list 'annotations' (COCO panoptic format); it "
            f"{what}"
        )
    _refuse_other_kinds(content["annotations"], path)
    return content


def entries(content: Mapping[str, Any], key: str, path: str) -> list[Any]:
    """Returns a list of the file; an empty one where it isn't there.

    Raises:
      UserError: it is something else than a list.
    """
    listed = content.get(key)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise UserError(f"'{key}' of {path} must be a list, not {fields.show(listed)}")
    return listed


def parse_images(listed: Sequence[Any], path: str) -> dict[ImageId, str]:
    """Returns the file name of each image by its id.

    Args:
      listed: the file's list `images`.
      path: of the file, for errors.

    Raises:
      UserError: an entry has no proper id or file_name, or two have the same.
    """
    names: list[tuple[ImageId, str]] = []
    for number, entry in enumerate(listed):
        try:
            fields.require_object(entry)
            names.append((fields.image_id(entry, "id"), fields.file_name(entry)))
        except FieldError as error:
            raise UserError(f"images[{number}] of {path}: {error}") from error
    for index, what in enumerate(("id", "file_name")):
        twice = repeated(entry[index] for entry in names)
        if twice:
            raise UserError(
                f"{path} lists several images of the {what} {some(twice)}; keep one of each"
            )
    return dict(names)


def parse_annotation(entry: Any, least_id: int = 1) -> Annotation:
    """Reads an entry of annotations.

    Args:
      entry: as it stands there.
      least_id: of a segment; 0 is "unlabeled", but predictions may list it.

    Raises:
      FieldError: a field has not the type, or not a value, that it must have.
    """
    fields.require_object(entry)
    image_id = fields.image_id(entry, "image_id")
    name = fields.file_name(entry)
    listed = fields.required(entry, "segments_info")
    if not isinstance(listed, list):
        raise FieldError(f"segments_info must be a list, not {fields.show(listed)}")
    segments = []
    for number, info in enumerate(listed):
        try:
            segments.append(parse_segment(info, least_id))
        except FieldError as error:
            raise FieldError(f"segments_info[{number}]: {error}") from error
    return Annotation(image_id, name, tuple(segments))


def parse_segment(info: Any, least_id: int = 1) -> Segment:
    """Reads an entry of segments_info.

    Raises:
      FieldError: a field has not the type, or not a value, that it must have.
    """
    if fields.require_object(info).get("category_id") == -1:
        raise FieldError(
            "category_id is -1, which no class can have; leave a segment without a class out of "
            "segments_info, and make its pixels 0"
        )
    return Segment(
        id=fields.whole(info, "id", least_id, LARGEST_SEGMENT_ID),
        category_id=fields.whole(info, "category_id", 0, _LARGEST_CATEGORY_ID),
        area=fields.finite(info, "area", 0),
        crowd=fields.flag(info, "iscrowd") if "iscrowd" in info else None,
        score=fields.finite(info, "score"),
    )


def parse_categories(listed: Sequence[Any], path: str) -> list[CategoryEntry]:
    """Reads the file's list of categories.

    Raises:
      UserError: an entry has no proper id, name or isthing, or two have the same id.
    """
    categories = []
    for number, entry in enumerate(listed):
        try:
            fields.require_object(entry)
            categories.append(
                CategoryEntry(
                    id=fields.whole(entry, "id", 0, _LARGEST_CATEGORY_ID),
                    name=fields.text(entry, "name"),
                    thing=fields.flag(entry, "isthing"),
                    color=_color(entry),
                )
            )
        except FieldError as error:
            raise UserError(
                f"categories[{number}] of {path}: {error}; each has an id, a name and isthing"
            ) from error
    twice = repeated(category.id for category in categories)
    if twice:
        raise UserError(f"several categories of {path} have the id {some(twice)}; keep one of each")
    return categories


def repeated(values: Iterable[Any]) -> list[Any]:
    """Returns the values that come more than once, in order."""
    return [value for value, count in collections.Counter(values).items() if count > 1]


def some(values: Iterable[Any]) -> str:
    """Lists the first few of several values."""
    listed = list(values)
    shown = (str(value) if str(value).isprintable() else repr(value) for value in listed[:5])
    return ", ".join(shown) + (", ..." if len(listed) > 5 else "")


def _refuse_other_kinds(annotations: Sequence[Any], path: str) -> None:
    keys = {key for entry in annotations if isinstance(entry, dict) for key in entry}
    kind = next((kind for key, kind in _OTHER_KINDS.items() if key in keys), "")
    if kind and "segments_info" not in keys:
        raise UserError(
            f"{path} has COCO's annotations of {kind}, not panoptic ones, which give each image a "
            "PNG of ids and a list segments_info; give the panoptic JSON (COCO's are called "
            "panoptic_...), or make one: panopticapi's detection2panoptic_coco_format.py does"
        )


def _color(entry: Mapping[str, Any]) -> tuple[int, int, int] | None:
    listed = entry.get("color")
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) != 3:
        raise FieldError(f"color must be [red, green, blue], not {fields.show(listed)}")
    red, green, blue = (fields.whole({"color": channel}, "color", 0, 255) for channel in listed)
    return red, green, blue
