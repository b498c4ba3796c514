"""JSONs of the COCO panoptic format, which Cityscapes' tools write too, for evaluation."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.errors import UserError
from kmax_tf.evaluation.mask_ap import ImageId
from kmax_tf.structures import Category, LabelSpace

# More instances of a class in an image than any model predicts; times classes, it fits an int32.
_LABEL_DIVISOR = 1 << 16


@dataclasses.dataclass(frozen=True)
class SegmentInfo:
    """An entry of segments_info.

    Attributes:
      id: color of the segment in the PNG.
      category_id: of the category list in the ground truth.
      area: as stated; None where it isn't.
      crowd: whether it is a crowd region.
      score: confidence of a prediction; None where the file gives none.
    """

    id: int
    category_id: int
    area: float | None
    crowd: bool
    score: float | None


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """An entry of annotations; of entries with one id in segments_info, the last one counts."""

    image_id: ImageId
    path: str
    segments: tuple[SegmentInfo, ...]


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """A JSON of the format.

    Attributes:
      path: of the JSON.
      folder: of the PNGs.
      images: its annotations, in order.
      categories: as they stand there; empty where it lists none.
      file_names: of the images (not the PNGs) by image id, where it lists them.
      repeated: number of entries of segments_info that a later one of the same id replaces.
    """

    path: str
    folder: str
    images: list[ImageInfo]
    categories: list[Any]
    file_names: dict[ImageId, str]
    repeated: int


def read_panoptic_file(path: str, folder: str | None = None) -> PanopticFile:
    """Reads a JSON of the format.

    Args:
      path: of the JSON.
      folder: of the PNGs; by default the JSON's path without ".json".

    Raises:
      UserError: a file is missing or of another format.
    """
    content = _read_json(path)
    folder = folder or os.path.splitext(path)[0]
    if not os.path.isdir(folder):
        raise UserError(f"the folder {folder} of the PNGs of {path} doesn't exist; name another")
    images, repeated = [], 0
    for number, entry in enumerate(content["annotations"]):
        try:
            info = {_integer(e, "id"): _segment(e) for e in entry["segments_info"]}
            repeated += len(entry["segments_info"]) - len(info)
            png = os.path.join(folder, str(entry["file_name"]))
            images.append(ImageInfo(_image_id(entry), png, tuple(info.values())))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"annotation {number} of {path} isn't one of the COCO panoptic format: {reason}"
            ) from error
    names = {
        entry["id"]: entry["file_name"]
        for entry in content.get("images") or ()
        if isinstance(entry, dict) and {"id", "file_name"} <= entry.keys()
    }
    return PanopticFile(path, folder, images, content.get("categories") or [], names, repeated)


def categories_of(file: PanopticFile) -> LabelSpace:
    """Returns the classes that a JSON lists; `original_id` is a category's id there.

    Ids in our maps are 1, 2, ... in the order of the list, and 0 is unlabeled.

    Raises:
      UserError: it lists none, or not properly.
    """
    if not file.categories:
        raise UserError(f"{file.path} lists no categories; give the dataset's own ground truth")
    classes = []
    try:
        names = [str(entry["name"]) for entry in file.categories]
        for index, entry in enumerate(file.categories):
            original_id, name = _integer(entry, "id"), names[index]
            unique = name if names.count(name) == 1 else f"{name} ({original_id})"
            color = [int(channel) for channel in entry.get("color") or _spare_color(index)]
            red, green, blue = color
            thing = entry["isthing"] == 1
            classes.append(Category(index + 1, unique, thing, (red, green, blue), original_id))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the categories of {file.path} must each have id, name and isthing ({error!r})"
        ) from error
    if len({category.original_id for category in classes}) < len(classes):
        raise UserError(f"two categories of {file.path} have the same id")
    return LabelSpace(tuple(classes), len(classes) + 1, 0, _LABEL_DIVISOR, file.path)


def translate_categories(file: PanopticFile, table: Mapping[int, int]) -> PanopticFile:
    """Replaces category ids, such as Cityscapes' train ids by label ids.

    Args:
      file: whose segments are changed.
      table: other ids by category id; what isn't there stays.
    """
    images = [
        dataclasses.replace(
            image,
            segments=tuple(
                dataclasses.replace(s, category_id=table.get(s.category_id, s.category_id))
                for s in image.segments
            ),
        )
        for image in file.images
    ]
    return dataclasses.replace(file, images=images)


def some(values: Iterable[Any]) -> str:
    """Lists the first few of several values."""
    listed = list(values)
    return ", ".join(str(value) for value in listed[:5]) + (", ..." if len(listed) > 5 else "")


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        what = "a list" if isinstance(content, list) else "no such object"
        raise UserError(
            f"{path} must be a JSON object with the list 'annotations' (COCO panoptic format); it "
            f"is {what}. Results for detection have another format."
        )
    if not content["annotations"]:
        raise UserError(f"{path} lists no annotations; there is nothing to evaluate")
    return content


def _segment(entry: Mapping[str, Any]) -> SegmentInfo:
    area, score = entry.get("area"), entry.get("score")
    return SegmentInfo(
        id=_integer(entry, "id"),
        category_id=_integer(entry, "category_id"),
        area=None if area is None else float(area),
        crowd=entry.get("iscrowd", 0) == 1,
        score=None if score is None else float(score),
    )


def _image_id(entry: Mapping[str, Any]) -> ImageId:
    image_id = entry["image_id"]
    if isinstance(image_id, bool) or not isinstance(image_id, (int, str)):
        raise ValueError(f"image_id must be a number or a name, not {image_id!r}")
    return image_id


def _integer(entry: Mapping[str, Any], key: str) -> int:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"{key} must be a whole number, not {value!r}")
    return int(value)


def _spare_color(index: int) -> Sequence[int]:
    """Returns a color for a category that has none: steps around the color wheel."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
