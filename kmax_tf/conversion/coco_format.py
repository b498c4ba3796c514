"""Reader of COCO panoptic annotations: a JSON of segments, PNGs of their ids, and images."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmax_tf.conversion.panoptic_ids import COCO_CONVENTIONS, Conventions, panoptic_label
from kmax_tf.errors import UserError
from kmax_tf.files.images import BadExampleError, read_encoded, read_id_map
from kmax_tf.files.reading import is_file, is_folder, located, name_key, read_file
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.coco_json import Segment, entries, parse_annotation, parse_json
from kmax_tf.panoptic.fields import FieldError, ImageId
from kmax_tf.records.examples import LabeledImage, image_names


@dataclasses.dataclass(frozen=True)
class CocoAnnotation:
    """The annotation of one image.

    Attributes:
      image_path: file of the image.
      map_path: PNG of the segment ids.
      segments: what the ids mean; none at all leaves the whole image unlabeled.
      name: what the image is known by (`records.image_names`).
      source_id: its id in the JSON.
      conventions: of the publisher.
    """

    image_path: str
    map_path: str
    segments: tuple[Segment, ...]
    name: str
    source_id: ImageId
    conventions: Conventions = COCO_CONVENTIONS

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of."""
        return located(self.image_path), located(self.map_path)

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its annotation.

        Args:
          labels: meaning of the category ids.
          treat_crowd_as_ignore: a crowd region becomes unlabeled; else it keeps its class, with
            instance 0.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other or the labels.
        """
        image_path, map_path = self.files
        image, ids = read_encoded(image_path), read_id_map(map_path)
        if ids.shape != (image.height, image.width):
            raise BadExampleError(
                f"{map_path} is {ids.shape[1]} x {ids.shape[0]} but its image "
                f"{image_path} is {image.width} x {image.height}; an annotation must have the "
                "size of its image"
            )
        try:
            panoptic, areas = panoptic_label(
                ids, self.segments, labels, self.conventions, treat_crowd_as_ignore
            )
        except BadExampleError as error:
            raise BadExampleError(f"{map_path}: {error}") from error
        return LabeledImage(self.name, image, panoptic, areas, self.source_id)


@dataclasses.dataclass(frozen=True)
class PanopticFiles:
    """Where the parts of a split are.

    Attributes:
      json: file of the annotations.
      maps: folder of the PNGs.
      images: folder of the images.
      conventions: of the publisher.
      image_name: from an image's entry in the JSON to its path below the folder of the images.
    """

    json: str
    maps: str
    images: str
    conventions: Conventions = COCO_CONVENTIONS
    image_name: Callable[[Mapping[str, Any]], str] = fields.file_name


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
    return read_panoptic_files(PanopticFiles(f"{maps}.json", maps, images))


def read_panoptic_files(files: PanopticFiles) -> Split:
    """Reads the annotations of a split; the PNGs and images are not opened.

    Raises:
      UserError: the JSON is missing, broken, of another kind, without annotations or ambiguous, or
        a folder is missing.
    """
    content = _read_json(files.json)
    for folder in (files.maps, files.images):
        if not is_folder(folder):
            packed = f"; unpack {folder}.zip" if is_file(f"{folder}.zip") else ""
            raise UserError(f"the folder {folder} is missing; {files.json} needs it{packed}")
    images, refused = _images(entries(content, "images", files.json), files)
    names = {key: name for key, name in images.items() if name}
    known_by = dict(zip(names, image_names(list(names.values()))))
    alike = {str(key): key for key in images}  # 1 is not "1", but may have been meant
    annotations: list[CocoAnnotation] = []
    seen: dict[ImageId, int] = {}
    for number, entry in enumerate(content["annotations"]):
        try:
            key = fields.image_id(fields.require_object(entry), "image_id")
            if key not in images:
                raise BadExampleError(
                    f"image_id {fields.show(key)} is not among the images"
                    + (f", which have {fields.show(alike[str(key)])}" if str(key) in alike else "")
                )
            _once(seen, key, number, "annotations", "image_id", files.json)
            parsed = parse_annotation(entry)
            if key in names:  # else its image was refused
                annotations.append(
                    CocoAnnotation(
                        os.path.join(files.images, names[key]),
                        os.path.join(files.maps, parsed.file_name),
                        parsed.segments,
                        known_by[key],
                        key,
                        files.conventions,
                    )
                )
        except (FieldError, BadExampleError) as error:
            refused.append((f"annotation {number} of {os.path.basename(files.json)}", str(error)))
    refused += [
        (name, f"it has no annotation in {files.json}")
        for key, name in names.items()
        if key not in seen
    ]
    return Split(annotations, refused, content.get("categories"))


def _read_json(path: str) -> dict[str, Any]:
    try:
        content = parse_json(read_file(path), path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    for key in ("images", "annotations"):
        if not entries(content, key, path):
            raise UserError(f"{path} lists no {key}; there is nothing to convert")
    return content


def _images(
    listed: Sequence[Any], files: PanopticFiles
) -> tuple[dict[ImageId, str], list[tuple[str, str]]]:
    """Returns the path of each image below their folder, and entries that are refused.

    An image without a proper path has an empty one, and is refused, too.
    """
    images: dict[ImageId, str] = {}
    refused = []
    numbers: dict[ImageId, int] = {}
    for number, entry in enumerate(listed):
        try:
            key = fields.image_id(fields.require_object(entry), "id")
            _once(numbers, key, number, "images", "id", files.json)
            images[key] = ""
            # Parts such as ./ don't make it another file.
            images[key] = pathlib.PurePosixPath(files.image_name(entry)).as_posix()
        except (FieldError, BadExampleError) as error:
            refused.append((f"image {number} of {os.path.basename(files.json)}", str(error)))
    _check_files({key: name for key, name in images.items() if name}, files)
    return images, refused


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


def _check_files(names: Mapping[ImageId, str], files: PanopticFiles) -> None:
    """Raises UserError where two images are one file."""
    first: dict[str, ImageId] = {}
    for key, name in names.items():
        other = first.setdefault(name_key(name), key)
        paths = [os.path.join(files.images, path) for path in (names[other], name)]
        # The same name, or two spellings of one; two files may have both.
        if other != key and (paths[0] == paths[1] or located(paths[0]) == located(paths[1])):
            raise UserError(
                f"{files.json}: the images of the ids {fields.show(other)} and {fields.show(key)} "
                f"are one file, {located(paths[0])}; list it once"
            )
