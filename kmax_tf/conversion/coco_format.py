"""Reader of COCO panoptic annotations: a JSON of segments, PNGs of their ids, and images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import read_encoded
from kmax_tf.files.reading import as_spelt, is_file, is_folder, name_key
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.coco_json import TRAINING, one_file, read_panoptic_json
from kmax_tf.panoptic.entries import Segment
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.png import read_ids
from kmax_tf.panoptic.segment_ids import COCO_CONVENTIONS, Conventions, panoptic_map
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
        return as_spelt(self.image_path), as_spelt(self.map_path)

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its annotation.

        A crowd region becomes unlabeled, or else keeps its class, with instance 0.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other or the labels.
        """
        image_path, map_path = self.files
        image, ids = read_encoded(image_path), read_ids(map_path)
        if ids.shape != (image.height, image.width):
            raise BadExampleError(
                f"{map_path} is {ids.shape[1]} x {ids.shape[0]} but its image "
                f"{image_path} is {image.width} x {image.height}; an annotation must have the "
                "size of its image"
            )
        try:
            conventions = dataclasses.replace(
                self.conventions, crowd_is_unlabeled=treat_crowd_as_ignore
            )
            panoptic, areas = panoptic_map(ids, self.segments, labels, conventions)
        except BadExampleError as error:
            raise BadExampleError(f"{map_path}: {error}") from error
        return LabeledImage(self.name, image, panoptic, areas, self.source_id)


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

    Raises:
      UserError: the JSON is missing, broken or without annotations, or a folder is missing.
    """
    maps = os.path.join(root, "annotations", f"panoptic_{split}")
    images = os.path.join(root, split)
    return read_panoptic_files(f"{maps}.json", maps, images)


def read_panoptic_files(
    json: str,
    maps: str,
    images: str,
    conventions: Conventions = COCO_CONVENTIONS,
    image_name: Callable[[Mapping[str, Any]], str] = fields.file_name,
) -> Split:
    """Reads the annotations of a split; the PNGs and images are not opened.

    Args:
      json: file of the annotations.
      maps: folder of the PNGs.
      images: folder of the images.
      conventions: of the publisher.
      image_name: from an image's entry in the JSON to its path below the folder of the images.

    Raises:
      UserError: the JSON is missing, broken, of another kind, without annotations or ambiguous, or
        a folder is missing.
    """
    refused: list[tuple[str, str]] = []
    content = read_panoptic_json(json, TRAINING, refused, image_name)
    for folder in (maps, images):
        if not is_folder(folder):
            packed = f"; unpack {folder}.zip" if is_file(f"{folder}.zip") else ""
            raise UserError(f"the folder {folder} is missing; {json} needs it{packed}")
    names = {key: name for key, name in content.images.items() if name}
    _check_spellings(names, json, images)
    known_by = dict(zip(names, image_names(list(names.values()))))
    annotations = [
        CocoAnnotation(
            os.path.join(images, names[annotation.image_id]),
            os.path.join(maps, annotation.file_name),
            annotation.segments,
            known_by[annotation.image_id],
            annotation.image_id,
            conventions,
        )
        for annotation in content.annotations
        if annotation.image_id in names  # else its image was refused
    ]
    return Split(annotations, refused, content.categories)


def _check_spellings(names: Mapping[ImageId, str], json: str, images: str) -> None:
    """Raises UserError where two images of a folder are one file, spelt otherwise."""
    first: dict[str, ImageId] = {}
    for key, name in names.items():
        other = first.setdefault(name_key(name), key)
        paths = [as_spelt(os.path.join(images, path)) for path in (names[other], name)]
        # Two files may be spelt almost alike.
        if other != key and paths[0] == paths[1]:
            raise one_file(json, other, key, paths[0])
