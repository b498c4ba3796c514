"""Reader of COCO panoptic annotations: a JSON of segments, PNGs of their ids, and images."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Union

from kmax_tf.data.images import BadExampleError, read_encoded, read_id_map
from kmax_tf.data.panoptic_ids import COCO_CONVENTIONS, Conventions, Segment, panoptic_label
from kmax_tf.data.records import LabeledImage
from kmax_tf.data.sources import is_file, is_folder, read_file
from kmax_tf.errors import UserError
from kmax_tf.structures import LabelSpace

# COCO has numbers; other publishers of the format have names.
ImageId = Union[int, str]


@dataclasses.dataclass(frozen=True)
class CocoAnnotation:
    """The annotation of one image.

    Attributes:
      image_path: file of the image.
      map_path: PNG of the segment ids.
      segments: what the ids mean; none at all leaves the whole image unlabeled.
      conventions: of the publisher.
    """

    image_path: str
    map_path: str
    segments: tuple[Segment, ...]
    conventions: Conventions = COCO_CONVENTIONS

    @property
    def name(self) -> str:
        """Returns the image's file name without extension."""
        return pathlib.PurePosixPath(self.image_path).stem

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of."""
        return self.image_path, self.map_path

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its annotation.

        Args:
          labels: meaning of the category ids.
          treat_crowd_as_ignore: a crowd region becomes unlabeled; else it keeps its class, with
            instance 0.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other or the labels.
        """
        image = read_encoded(self.image_path)
        ids = read_id_map(self.map_path)
        if ids.shape != (image.height, image.width):
            raise BadExampleError(
                f"{self.map_path} is {ids.shape[1]} x {ids.shape[0]} but its image "
                f"{self.image_path} is {image.width} x {image.height}; an annotation must have the "
                "size of its image"
            )
        try:
            panoptic, areas = panoptic_label(
                ids, self.segments, labels, self.conventions, treat_crowd_as_ignore
            )
        except BadExampleError as error:
            raise BadExampleError(f"{self.map_path}: {error}") from error
        return LabeledImage(self.name, image, panoptic, areas)


@dataclasses.dataclass(frozen=True)
class PanopticFiles:
    """Where the parts of a split are.

    Attributes:
      json: file of the annotations.
      maps: folder of the PNGs.
      image_path: from an image's id and the file name that the JSON gives it to its file.
      conventions: of the publisher.
    """

    json: str
    maps: str
    image_path: Callable[[ImageId, str], str]
    conventions: Conventions = COCO_CONVENTIONS


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split.

    Attributes:
      annotations: what can be converted.
      refused: what the list of annotations itself spoils: name and reason.
      categories: what the JSON says of the classes; unchecked.
    """

    annotations: Sequence[Any]
    refused: Sequence[tuple[str, str]] = ()
    categories: Any = None


def read_split(root: str | os.PathLike[str], split: str) -> Split:
    """Reads ROOT/annotations/panoptic_SPLIT.json.

    Segment ids stand in ROOT/annotations/panoptic_SPLIT/*.png, images in ROOT/SPLIT.

    Args:
      root: folder of the dataset.
      split: such as "train2017".

    Raises:
      UserError: the JSON is missing, broken or without annotations, or a folder is missing.
    """
    maps = os.path.join(root, "annotations", f"panoptic_{split}")
    images = os.path.join(root, split)
    return read_panoptic_files(in_folders(f"{maps}.json", maps, images))


def in_folders(
    json_path: str, maps: str, images: str, conventions: Conventions = COCO_CONVENTIONS
) -> PanopticFiles:
    """Returns the parts of a split whose images are in one folder, under the JSON's names.

    Raises:
      UserError: the folder of the images is missing.
    """
    if is_folder(maps) and not is_folder(images):
        raise UserError(f"the folder {images} is missing; {json_path} needs it")
    return PanopticFiles(
        json_path, maps, lambda _, name: os.path.join(images, file_name(name)), conventions
    )


def read_panoptic_files(files: PanopticFiles) -> Split:
    """Reads the annotations of a split; the PNGs and images are not opened.

    Raises:
      UserError: the JSON is missing, broken or without annotations, or the folder of the maps is
        missing.
    """
    content = read_panoptic_json(files.json)
    if not is_folder(files.maps):
        packed = f"; unpack {files.maps}.zip" if is_file(f"{files.maps}.zip") else ""
        raise UserError(f"the folder {files.maps} is missing; {files.json} needs it{packed}")
    images = _image_names(content["images"])
    annotations: list[CocoAnnotation] = []
    refused: list[tuple[str, str]] = []
    seen: set[ImageId] = set()
    for number, entry in enumerate(content["annotations"]):
        try:
            image_id, map_name, segments = _parse_annotation(entry)
            if image_id not in images:
                raise BadExampleError(f"image_id {image_id!r} is not among the images")
            if image_id in seen:
                raise BadExampleError(f"a second annotation of image_id {image_id!r}")
            seen.add(image_id)
            image_path = files.image_path(image_id, images[image_id])
            map_path = os.path.join(files.maps, map_name)
            annotations.append(CocoAnnotation(image_path, map_path, segments, files.conventions))
        except BadExampleError as error:
            refused.append((f"annotation {number} of {os.path.basename(files.json)}", str(error)))
    for image_id, name in images.items():
        if image_id not in seen:
            shown = name if isinstance(name, str) and _is_text(name) else repr(name)
            refused.append((shown, f"it has no annotation in {files.json}"))
    return Split(annotations, refused, content.get("categories"))


def read_panoptic_json(path: str) -> dict[str, Any]:
    """Reads a JSON that has lists of images and annotations.

    Raises:
      UserError: it is missing, broken or of another kind, or lists no annotations.
    """
    try:
        content = json.loads(read_file(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); download it again") from error
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"{path} has no list '{key}'; is it a COCO panoptic file?")
    if not content["annotations"]:
        raise UserError(f"{path} lists no annotations; there is nothing to convert")
    return content


def file_name(value: Any) -> str:
    """Returns a file name of the JSON, refusing one that leads out of its folder.

    Raises:
      BadExampleError: it isn't a relative path below the folder.
    """
    path = pathlib.PurePosixPath(str(value))
    inside = path.name and not path.is_absolute() and ".." not in path.parts
    if not isinstance(value, str) or not inside or not _is_text(value) or "\\" in value:
        raise BadExampleError(f"{value!r} is not a file name inside the dataset")
    return value


def _image_names(entries: list[Any]) -> dict[ImageId, Any]:
    """Returns the file name of each image; entries without both are as good as not there."""
    return {
        entry["id"]: entry["file_name"]
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("id"), (int, str))
        and "file_name" in entry
    }


def _parse_annotation(entry: Any) -> tuple[ImageId, str, tuple[Segment, ...]]:
    try:
        segments = tuple(_parse_segment(info) for info in entry["segments_info"])
        image_id = entry["image_id"]
        if not isinstance(image_id, (int, str)):
            raise ValueError("image_id must be a number or a name")
        return image_id, file_name(entry["file_name"]), segments
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadExampleError(
            f"it has no image_id, no file_name or no proper segments_info ({error!r})"
        ) from error


def _parse_segment(info: Any) -> Segment:
    area, crowd = info.get("area"), info.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd must be 0 or 1, not {crowd!r}")
    segment = Segment(
        id=_integer(info["id"]),
        category_id=_integer(info["category_id"]),
        area=None if area is None else _integer(area),
        crowd=bool(crowd),
    )
    if not 0 < segment.id < 2**24:
        raise ValueError("segment ids must be from 1 to 2^24 - 1")
    return segment


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _is_text(value: str) -> bool:
    """Returns whether a string can be part of a path: JSON can hold halves of characters too."""
    try:
        return "\0" not in value and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False
