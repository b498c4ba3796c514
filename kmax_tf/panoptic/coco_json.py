"""The JSON of COCO's panoptic format, each field read rightly or refused in a sentence.

Conversion and evaluation read it alike. Where they must differ is said in a `Use`. Nothing is
looked at but the JSON: whether PNGs and images agree with it is the callers' part.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional, TypeVar

from kmax_tf.errors import UserError
from kmax_tf.files.reading import read_file
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.entries import Annotation, CategoryEntry, parse_annotation, parse_category
from kmax_tf.panoptic.fields import FieldError, ImageId
from kmax_tf.wording import some

# Keys of annotations of COCO's other formats.
_OTHER_KINDS = {"caption": "captions", "keypoints": "keypoints", "segmentation": "instances"}

# Names and reasons of entries that are left out; None: a wrong entry is an error.
Refused = Optional[list[tuple[str, str]]]
Parsed = TypeVar("Parsed")


@dataclasses.dataclass(frozen=True)
class Use:
    """What a file is read for, and so what must hold in it.

    Attributes:
      what: the word for it in errors.
      lists_images: each annotation is of an image that the file lists.
      one_each: an image has one annotation at most.
      least_id: of a segment; 0 is "unlabeled", but predictions may list it.
    """

    what: str
    lists_images: bool = False
    one_each: bool = True
    least_id: int = 1


TRAINING = Use("convert", lists_images=True)
GROUND_TRUTH = Use("evaluate")
PREDICTIONS = Use("evaluate", one_each=False, least_id=0)


@dataclasses.dataclass(frozen=True)
class PanopticJson:
    """A file of the format.

    Attributes:
      path: of the file.
      images: file name of each image by its id; empty of one whose entry was refused.
      annotations: in order.
      categories: the list as it stands there (`parse_categories`), or None.
    """

    path: str
    images: dict[ImageId, str]
    annotations: list[Annotation]
    categories: Any


def read_panoptic_json(
    path: str,
    use: Use,
    refused: Refused = None,
    image_name: Callable[[Mapping[str, Any]], str] = fields.file_name,
) -> PanopticJson:
    """Reads a file; each of its images and annotations is checked.

    Args:
      path: of the JSON.
      use: what must hold in it.
      refused: gets what is wrong with single entries, which are left out; None: it is an error.
      image_name: from the entry of an image to the name of its file.

    Raises:
      UserError: the file can't be read, is of another kind, has nothing or is ambiguous, or, where
        nothing may be left out, an entry is wrong.
    """
    content = read_json(path)
    listed_images = entries(content.get("images"), "images", path)
    if use.lists_images and not listed_images:
        raise UserError(f"{path} lists no images; there is nothing to {use.what}")
    if not content["annotations"]:
        raise UserError(f"{path} lists no annotations; there is nothing to {use.what}")
    images = _parse_images(listed_images, path, refused, image_name)
    alike = {str(key): key for key in images}  # 1 is not "1", but may have been meant
    seen: dict[ImageId, int] = {}

    def parse(number: int, entry: Mapping[str, Any]) -> Annotation:
        key = fields.image_id(entry, "image_id")
        if use.lists_images and key not in images:
            meant = f", which have {fields.show(alike[str(key)])}" if str(key) in alike else ""
            raise FieldError(f"image_id {fields.show(key)} is not among the images{meant}")
        if use.one_each:
            _once(seen, key, number, "annotations", "image_id", path)
        return parse_annotation(entry, use.least_id)

    listed = _parse_each("annotations", content["annotations"], parse, path, refused)
    if refused is not None:
        refused += [
            (name, f"it has no annotation in {path}")
            for key, name in images.items()
            if name and key not in seen
        ]
    return PanopticJson(path, images, listed, content.get("categories"))


def read_json(path: str, kind: str = "panoptic") -> dict[str, Any]:
    """Reads a file of COCO: UTF-8 with or without a byte order mark, or UTF-16.

    Args:
      path: of the JSON.
      kind: "panoptic": other annotations of COCO's are an error; "any".

    Raises:
      UserError: it can't be read, or is no JSON object that lists annotations.
    """
    try:
        data = read_file(path)
        content = json.loads(data)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
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
    if kind == "panoptic":
        _refuse_other_kinds(content["annotations"], path)
    return content


def entries(listed: Any, key: str, path: str) -> list[Any]:
    """Returns what a file has under a key: a list, an empty one where there is nothing.

    Raises:
      UserError: it is something else than a list.
    """
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise UserError(f"'{key}' of {path} must be a list, not {fields.show(listed)}")
    return listed


def read_image_names(path: str) -> dict[ImageId, str]:
    """Returns the file name of each image that a file lists, by its id.

    Raises:
      UserError: an entry has no proper id or file_name, or two have the same.
    """
    listed = entries(read_json(path).get("images"), "images", path)
    return _parse_images(listed, path, None, fields.file_name)


def parse_categories(listed: Sequence[Any], path: str) -> list[CategoryEntry]:
    """Reads the file's list of categories.

    Raises:
      UserError: an entry has no proper id, name or isthing, or two have the same id.
    """
    categories = _parse_each(
        "categories", listed, lambda _, entry: parse_category(entry), path, None
    )
    twice = repeated(category.id for category in categories)
    if twice:
        raise UserError(f"several categories of {path} have the id {some(twice)}; keep one of each")
    return categories


def repeated(values: Iterable[Any]) -> list[Any]:
    """Returns the values that come more than once, in order."""
    return [value for value, count in collections.Counter(values).items() if count > 1]


def _refuse_other_kinds(annotations: Sequence[Any], path: str) -> None:
    keys = {key for entry in annotations if isinstance(entry, dict) for key in entry}
    kind = next((kind for key, kind in _OTHER_KINDS.items() if key in keys), "")
    if kind and "segments_info" not in keys:
        raise UserError(
            f"{path} has COCO's annotations of {kind}, not panoptic ones, which give each image a "
            "PNG of ids and a list segments_info; give the panoptic JSON (COCO's are called "
            "panoptic_...), or convert instances by kmax convert-dataset coco-instances"
        )


def _parse_images(
    listed: Sequence[Any],
    path: str,
    refused: Refused,
    image_name: Callable[[Mapping[str, Any]], str],
) -> dict[ImageId, str]:
    names: dict[ImageId, str] = {}
    numbers: dict[ImageId, int] = {}
    owners: dict[str, ImageId] = {}

    def parse(number: int, entry: Mapping[str, Any]) -> None:
        key = fields.image_id(entry, "id")
        _once(numbers, key, number, "images", "id", path)
        names[key] = ""  # its annotation isn't of an image that isn't listed
        name = names[key] = image_name(entry)
        if owners.setdefault(name, key) != key:
            raise one_file(path, owners[name], key, name)

    _parse_each("images", listed, parse, path, refused)
    return names


def one_file(path: str, first: ImageId, second: ImageId, name: str) -> UserError:
    """Returns the error of two images that are one file."""
    return UserError(
        f"{path}: the images of the ids {fields.show(first)} and {fields.show(second)} are one "
        f"file, {name}; list it once"
    )


def _parse_each(
    key: str,
    listed: Sequence[Any],
    parse: Callable[[int, Mapping[str, Any]], Parsed],
    path: str,
    refused: Refused,
) -> list[Parsed]:
    """Parses the entries of a list, each by its number; what is wrong with one is told or noted."""
    parsed = []
    for number, entry in enumerate(listed):
        try:
            parsed.append(parse(number, fields.require_object(entry)))
        except FieldError as error:
            if refused is None:
                raise UserError(f"{key}[{number}] of {path}: {error}") from error
            refused.append((f"{key[:-1]} {number} of {os.path.basename(path)}", str(error)))
    return parsed


def _once(
    numbers: dict[ImageId, int], key: ImageId, number: int, what: str, field: str, path: str
) -> None:
    """Notes that an entry is the only one with an id, or raises UserError."""
    if key in numbers:
        raise UserError(
            f"{path}: {what}[{numbers[key]}] and {what}[{number}] have one {field}, "
            f"{fields.show(key)}; keep one, or give each its own"
        )
    numbers[key] = number
