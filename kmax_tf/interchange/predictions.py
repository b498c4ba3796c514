"""Predictions as `kmax predict` writes them, image by image, for writers of other formats."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.ndimage

from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.evaluation.from_files.panoptic_file import (
    ImageInfo,
    categories_of,
    read_panoptic_file,
)
from kmax_tf.files.images import IMAGE_SUFFIXES, image_key
from kmax_tf.interchange.image_sizes import upright_size
from kmax_tf.labels import Category
from kmax_tf.panoptic.coco_json import PREDICTIONS
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.png import read_ids
from kmax_tf.panoptic.runs import find_runs
from kmax_tf.wording import some

JOINED = "predictions.json"


@dataclasses.dataclass(frozen=True)
class PredictedSegment:
    """A segment of an image.

    Attributes:
      id: its color in the PNG.
      category: its class.
      score: confidence, 0..1; None where the prediction has none.
      code: its pixels as COCO's compressed run lengths.
      area: in pixels.
      bbox: x, y, width, height in pixels.
    """

    id: int
    category: Category
    score: float | None
    code: dict[str, Any]
    area: int
    bbox: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class PredictedImage:
    """The prediction of an image.

    Attributes:
      image_id: of the image, as the prediction gives it.
      name: of its results, a path below their folder, without ending.
      file_name: path of the image below the folder of the images; "" if that wasn't given.
      ids: [H, W] int32 segment ids; pixels of no segment are 0.
      segments: what the ids mean; each has pixels.
    """

    image_id: ImageId
    name: str
    file_name: str
    ids: np.ndarray
    segments: tuple[PredictedSegment, ...]

    @property
    def height(self) -> int:
        """Returns the image's height in pixels."""
        return int(self.ids.shape[0])

    @property
    def width(self) -> int:
        """Returns the image's width in pixels."""
        return int(self.ids.shape[1])


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which segments are of interest.

    Attributes:
      things_only: leaves out stuff.
      min_score: leaves out what has a lower score; what has none stays.
    """

    things_only: bool = False
    min_score: float = 0.0


class Predictions:
    """The predictions of a JSON.

    Attributes:
      path: of the JSON.
      categories: the classes; `original_id` is what the JSON calls them.
      images_folder: of the images; "" if not given.
      refused: name and reason of each image that can't be used, so far.
    """

    def __init__(self, path: str, images_folder: str = "", selection: Selection = Selection()):
        """Reads the JSON.

        Args:
          path: of the JSON, or of the folder of results that it is in.
          images_folder: of the images that were predicted.
          selection: which segments are of interest.

        Raises:
          UserError: the JSON can't be read, is of another kind, or lists no categories; there is no
            folder of images.
        """
        if os.path.isdir(path):
            path = os.path.join(path, JOINED)
        file = read_panoptic_file(path, use=PREDICTIONS)
        self.path, self.images_folder = path, images_folder
        self.categories: Sequence[Category] = categories_of(file).classes
        self.refused: list[tuple[str, str]] = []
        self._by_id = {category.original_id: category for category in self.categories}
        self._listed, self._selection = file.images, selection
        self._files = _images_below(images_folder) if images_folder else None

    def __len__(self) -> int:
        return len(self._listed)

    def __iter__(self) -> Iterator[PredictedImage]:
        """Yields the images in order; what can't be used is noted in `refused`."""
        self.refused.clear()
        for info in self._listed:
            try:
                yield self._read(info)
            except BadExampleError as error:
                self.refused.append((info.file_name, str(error)))

    def image_path(self, image: PredictedImage) -> str:
        """Returns the image's file."""
        return os.path.join(self.images_folder, image.file_name)

    def _read(self, info: ImageInfo) -> PredictedImage:
        ids = read_ids(info.path)
        name = os.path.splitext(info.file_name)[0]
        file_name = "" if self._files is None else self._find(name, ids.shape)
        ids, segments = self._segments(info, ids)
        return PredictedImage(info.image_id, name, file_name, ids, segments)

    def _segments(
        self, info: ImageInfo, ids: np.ndarray
    ) -> tuple[np.ndarray, tuple[PredictedSegment, ...]]:
        """Returns the ids of the segments that are of interest, and what they mean."""
        runs = find_runs(ids, columns=True)
        places = {value: place for place, value in enumerate(runs.values.tolist())}
        listed = {segment.id: segment for segment in info.segments if segment.id}
        unlisted = sorted(places.keys() - listed.keys() - {0})
        if unlisted:
            raise BadExampleError(
                f"{info.path} has pixels of ids that {self.path} doesn't list: {some(unlisted)}; "
                "predict the image again"
            )
        missing = sorted(listed.keys() - places.keys())
        if missing:
            raise BadExampleError(
                f"{info.path} has no pixel of the segments {some(missing)} of {self.path}; predict "
                "the image again"
            )
        boxes = _boxes(runs.places(), len(runs.values))
        kept, table = [], np.zeros(len(runs.values), np.int32)
        for segment in listed.values():
            category = self._by_id.get(segment.category_id)
            if category is None:
                raise BadExampleError(
                    f"segment {segment.id} of {info.file_name} has the category "
                    f"{segment.category_id}, which {self.path} doesn't list"
                )
            low = segment.score is not None and segment.score < self._selection.min_score
            if low or (self._selection.things_only and not category.thing):
                continue
            place = places[segment.id]
            table[place] = segment.id
            code, area = runs.encode(place), int(runs.areas[place])
            score = segment.score
            kept.append(PredictedSegment(segment.id, category, score, code, area, boxes[place]))
        return runs.paint(table), tuple(kept)

    def _find(self, name: str, shape: tuple[int, ...]) -> str:
        """Returns the path of a result's image below the folder of the images."""
        alike = (self._files or {}).get(image_key(name), [])
        found = [path for path in alike if path == name] or alike
        if len(found) != 1:
            there = f"several images named {name}: {some(found)}" if found else f"no image {name}"
            raise BadExampleError(
                f"{self.images_folder} has {there}; give the folder that was predicted, as it was"
            )
        path = os.path.join(self.images_folder, found[0])
        height, width = upright_size(path)
        if (height, width) != shape:
            raise BadExampleError(
                f"{path} is {width} x {height}, but its prediction is {shape[1]} x {shape[0]}; "
                "give the images that were predicted"
            )
        return found[0]


def _images_below(folder: str) -> dict[str, list[str]]:
    """Returns the images below a folder, with "/", by what their spellings have in common."""
    if not os.path.isdir(folder):
        raise UserError(f"the folder of images {folder} is missing")
    found: dict[str, list[str]] = {}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                path = pathlib.Path(root, name).relative_to(folder).as_posix()
                found.setdefault(image_key(path), []).append(path)
    return found


def _boxes(places: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """Returns x, y, width, height of each place of a map [H, W]."""
    found = scipy.ndimage.find_objects(places + 1, count)
    return [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in found]
