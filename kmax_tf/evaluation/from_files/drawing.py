"""Pictures of the worst and the best images of an evaluation of files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.evaluation.extremes import Extremes
from kmax_tf.evaluation.from_files.pairing import Pair
from kmax_tf.evaluation.report.gallery import Picture, draw_panels, shrink_image, shrink_map
from kmax_tf.files.images import IMAGE_SUFFIXES, image_key, read_image
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import Advance, run_tasks
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.png import read_ids
from kmax_tf.panoptic.segment_ids import Conventions, panoptic_map

# As they are counted: what means nothing is unlabeled, and told elsewhere.
_CONVENTIONS = Conventions(checked=False, crowd_is_unlabeled=False)


def draw_extremes(
    pairs: Sequence[Pair],
    extremes: Extremes,
    labels: LabelSpace,
    images: ImageFolder | None,
    workers: int,
    progress: Progress,
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Reads the images that are among the extremes again and draws them.

    Args:
      pairs: all images.
      extremes: those to draw.
      labels: the classes.
      images: where the images themselves are, if they are at hand.
      workers: number of processes at most, this one included.
      progress: gets a step a picture.

    Returns:
      The pictures by the headings of a report, and what should be said about the images.
    """
    shown = extremes.by_heading()
    wanted = {image.image_id for ranked in shown.values() for image in ranked}
    tasks = [
        (pair, images.find(pair.true.image_id, pair.true.file_name) if images else None)
        for pair in pairs
        if pair.true.image_id in wanted
    ]
    panels, missing = {}, []
    draw = functools.partial(_draw, labels=labels)
    for image_id, of_image, complete in run_tasks(draw, tasks, workers, progress):
        panels[image_id] = of_image
        if images and not complete:
            missing.append(image_id)
    pictures = {
        heading: [Picture(image, panels[image.image_id]) for image in ranked]
        for heading, ranked in shown.items()
    }
    names = ", ".join(sorted(str(image_id) for image_id in missing))
    notes = [f"{images.path} has no fitting image of {names}"] if images and missing else []
    return pictures, notes


def _draw(
    task: tuple[Pair, str | None], advance: Advance, labels: LabelSpace
) -> tuple[ImageId, list[tuple[str, bytes]], bool]:
    """Draws a pair, with its image if that is at a path.

    Returns:
      Its id, its panels, and whether the image is among them.
    """
    pair, image_path = task
    true, predicted = (
        panoptic_map(read_ids(info.path), info.segments, labels, _CONVENTIONS)[0]
        for info in (pair.true, pair.predicted)
    )
    image = _read_fitting(image_path, true.shape)
    small = None if image is None else shrink_image(image)
    panels = draw_panels(small, shrink_map(true), shrink_map(predicted), labels)
    advance()
    return pair.true.image_id, panels, image is not None


class ImageFolder:
    """Finds images in a folder and its subfolders.

    An image is the one whose path ends in the name that the ground truth gives it, whatever ending
    it has: `cam1/0000` is never found in `cam2`. Where several are left, none is taken.

    Args:
      path: of the folder.
      file_names: of images, where the ground truth names them.
    """

    def __init__(self, path: str, file_names: Mapping[ImageId, str]) -> None:
        self.path = path
        self._file_names = file_names
        self._files = [
            (image_key(os.path.abspath(os.path.join(root, name))), os.path.join(root, name))
            for root, folders, names in os.walk(path)
            if folders.sort() is None  # the same order everywhere
            for name in sorted(names)
            if name.lower().endswith(IMAGE_SUFFIXES)
        ]

    def find(self, image_id: ImageId, png_name: str) -> str | None:
        """Returns the path of an image; None where there is none, or more than one."""
        # Cityscapes' JSON names images that don't exist; COCO's ids have leading zeros as names.
        named = self._file_names.get(image_id)
        names = [named] if named else [png_name, str(image_id), str(image_id).zfill(12)]
        names.append(f"{image_id}_leftImg8bit")
        return next((path for path in map(self._find, names) if path is not None), None)

    def _find(self, name: str) -> str | None:
        key = image_key(name)
        exact = image_key(os.path.abspath(os.path.join(self.path, name)))
        found = [path for full, path in self._files if full == exact]
        found = found or [path for full, path in self._files if full.endswith(f"/{key}")]
        same = [path for path in found if path.endswith(name)]
        found = same or found
        return found[0] if len(found) == 1 else None


def _read_fitting(path: str | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Reads an image, if it is of a map's size."""
    try:
        image = None if path is None else read_image(path)
    except BadExampleError:
        return None
    return image if image is not None and image.shape[:2] == shape else None
