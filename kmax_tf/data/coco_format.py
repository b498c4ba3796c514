"""Reader of COCO panoptic annotations: a JSON of segments, PNGs of their ids, and images."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
from typing import Any, Union

import numpy as np

from kmax_tf.data.images import BadExampleError, read_encoded, read_id_map
from kmax_tf.data.records import LabeledImage
from kmax_tf.errors import UserError
from kmax_tf.structures import LabelSpace

# COCO has numbers; other publishers of the format have names.
ImageId = Union[int, str]


@dataclasses.dataclass(frozen=True)
class Segment:
    """An entry of segments_info. The area is None where the file gives none."""

    id: int
    category_id: int
    area: int | None
    crowd: bool


@dataclasses.dataclass(frozen=True)
class CocoAnnotation:
    """The annotation of one image.

    Attributes:
      image_path: file of the image.
      map_path: PNG of the segment ids.
      segments: what the ids mean; none at all leaves the whole image unlabeled.
    """

    image_path: pathlib.Path
    map_path: pathlib.Path
    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """Returns the image's file name without extension."""
        return self.image_path.stem

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """Returns the files that the example is made of."""
        return self.image_path, self.map_path

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its annotation.

        Args:
          labels: meaning of the category ids (their original_id).
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
        panoptic, counts = panoptic_label(self, ids, labels, treat_crowd_as_ignore)
        return LabeledImage(self.name, image, panoptic, counts)


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split, and those that its JSON itself spoils: name and reason."""

    annotations: list[CocoAnnotation]
    refused: list[tuple[str, str]]


def read_split(root: str | os.PathLike[str], split: str) -> Split:
    """Reads ROOT/annotations/panoptic_SPLIT.json.

    Segment ids stand in ROOT/annotations/panoptic_SPLIT/*.png, images in ROOT/SPLIT.

    Args:
      root: folder of the dataset.
      split: such as "train2017".

    Raises:
      UserError: the JSON is missing, broken or without annotations, or a folder is missing.
    """
    annotation_folder = pathlib.Path(root) / "annotations" / f"panoptic_{split}"
    json_path = annotation_folder.with_suffix(".json")
    image_folder = pathlib.Path(root) / split
    content = _read_json(json_path)
    for folder in (annotation_folder, image_folder):
        if not folder.is_dir():
            raise UserError(f"the folder {folder} is missing; {json_path} needs it")
    images = _image_names(content["images"])
    result = Split([], [])
    seen: set[ImageId] = set()
    for number, entry in enumerate(content["annotations"]):
        try:
            image_id, map_name, segments = _parse_annotation(entry)
            if image_id not in images:
                raise BadExampleError(f"image_id {image_id} is not among the images of {json_path}")
            if image_id in seen:
                raise BadExampleError(f"a second annotation of image_id {image_id} in {json_path}")
            seen.add(image_id)
            image_path = image_folder / _file_name(images[image_id])
            annotation = CocoAnnotation(image_path, annotation_folder / map_name, segments)
            result.annotations.append(annotation)
        except BadExampleError as error:
            result.refused.append((f"annotation {number} of {json_path.name}", str(error)))
    for image_id, name in images.items():
        if image_id not in seen:
            result.refused.append((str(name), f"it has no annotation in {json_path}"))
    return result


def panoptic_label(
    annotation: CocoAnnotation, ids: np.ndarray, labels: LabelSpace, treat_crowd_as_ignore: bool
) -> tuple[np.ndarray, dict[int, int]]:
    """Turns segment ids into panoptic ids.

    Instances are numbered from 1 in each thing class, in the order of segments_info; stuff and
    crowds have instance 0.

    Args:
      annotation: the segments.
      ids: [H, W] int32 segment ids.
      labels: meaning of the category ids.
      treat_crowd_as_ignore: whether crowd regions become unlabeled.

    Returns:
      [H, W] int32 panoptic ids and the number of segments of each class id.

    Raises:
      BadExampleError: the map and the JSON contradict each other, or a category is unknown.
    """
    segments = _check_unique(annotation)
    # Id 0, unlabeled, comes first; searchsorted below needs increasing ids.
    order = sorted(range(len(segments)), key=lambda i: segments[i].id)
    sorted_ids = np.array([0] + [segments[i].id for i in order], np.int64)
    positions = np.searchsorted(sorted_ids, ids)
    unknown = sorted_ids[np.minimum(positions, len(sorted_ids) - 1)] != ids
    if unknown.any():
        strange = np.unique(ids[unknown])
        raise BadExampleError(
            f"{annotation.map_path} has {unknown.sum()} pixels of ids that the JSON does not list: "
            f"{_some(strange)}; the PNG and the JSON are not of one version"
        )
    areas = np.bincount(positions.ravel(), minlength=len(sorted_ids))
    _check_areas(annotation, [segments[i] for i in order], areas[1:])
    values, counts = _panoptic_values(annotation, labels, treat_crowd_as_ignore)
    table = np.array([labels.void_panoptic_id] + [values[i] for i in order], np.int32)
    return table[positions], counts


def _panoptic_values(
    annotation: CocoAnnotation, labels: LabelSpace, treat_crowd_as_ignore: bool
) -> tuple[list[int], dict[int, int]]:
    """Returns the panoptic id of each segment, and how many segments each class id has."""
    classes = {category.original_id: category for category in labels.classes}
    counts: dict[int, int] = collections.Counter()
    values = []
    for segment in annotation.segments:
        category = classes.get(segment.category_id)
        if category is None:
            raise BadExampleError(
                f"{annotation.map_path}: segment {segment.id} has the category "
                f"{segment.category_id}, which is no original_id of the dataset description "
                f"'{labels.name}'; add the class there or use the description of this dataset"
            )
        if segment.crowd:
            values.append(
                labels.void_panoptic_id
                if treat_crowd_as_ignore
                else category.id * labels.label_divisor
            )
            continue
        counts[category.id] += 1
        instance = counts[category.id] if category.thing else 0
        if instance >= labels.label_divisor:
            raise BadExampleError(
                f"{annotation.map_path} has more than {labels.label_divisor - 1} instances of "
                f"{category.name}; raise label_divisor in the dataset description"
            )
        values.append(category.id * labels.label_divisor + instance)
    return values, dict(counts)


def _check_unique(annotation: CocoAnnotation) -> tuple[Segment, ...]:
    repeated = [
        segment_id
        for segment_id, count in collections.Counter(s.id for s in annotation.segments).items()
        if count > 1
    ]
    if repeated:
        raise BadExampleError(
            f"{annotation.map_path}: the JSON lists the segment ids {_some(repeated)} more than "
            "once; ids must be unique in an image"
        )
    return annotation.segments


def _check_areas(annotation: CocoAnnotation, segments: list[Segment], areas: np.ndarray) -> None:
    absent = [segment.id for segment, area in zip(segments, areas) if not area]
    if absent:
        raise BadExampleError(
            f"{annotation.map_path} has no pixel of the segments {_some(absent)} that the JSON "
            "lists; the PNG and the JSON are not of one version"
        )
    for segment, area in zip(segments, areas):
        if segment.area is not None and segment.area != area:
            raise BadExampleError(
                f"{annotation.map_path}: segment {segment.id} covers {area} pixels but the JSON "
                f"says {segment.area}; the PNG and the JSON are not of one version"
            )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
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
        segments = []
        for info in entry["segments_info"]:
            area = info.get("area")
            segments.append(
                Segment(
                    id=_integer(info["id"]),
                    category_id=_integer(info["category_id"]),
                    area=None if area is None else _integer(area),
                    crowd=bool(info.get("iscrowd", 0)),
                )
            )
        if any(not 0 < segment.id < 2**24 for segment in segments):
            raise ValueError("segment ids must be from 1 to 2^24 - 1")
        image_id = entry["image_id"]
        if not isinstance(image_id, (int, str)):
            raise ValueError("image_id must be a number or a name")
        return image_id, _file_name(entry["file_name"]), tuple(segments)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadExampleError(
            f"an annotation without image_id, file_name or proper segments_info ({error!r})"
        ) from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _file_name(value: Any) -> str:
    """Returns a file name of the JSON, refusing one that leads out of its folder."""
    path = pathlib.PurePosixPath(str(value))
    inside = path.name and not path.is_absolute() and ".." not in path.parts
    if not isinstance(value, str) or not inside or "\0" in value:
        raise BadExampleError(f"{value!r} is not a file name inside the dataset")
    return value


def _some(ids: Any) -> str:
    shown = ", ".join(str(value) for value in list(ids)[:5])
    return shown + (", ..." if len(ids) > 5 else "")
