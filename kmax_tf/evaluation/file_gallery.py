"""Pictures of the worst and the best images of an evaluation of files."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.data.images import BadExampleError, read_id_map, read_image
from kmax_tf.evaluation.extremes import Extremes
from kmax_tf.evaluation.file_pairs import Pair
from kmax_tf.evaluation.gallery import Gallery
from kmax_tf.evaluation.mask_ap import ImageId
from kmax_tf.evaluation.overlaps import number_values
from kmax_tf.evaluation.panoptic_files import SegmentInfo
from kmax_tf.structures import LabelSpace

_EXTENSIONS = (".jpg", ".jpeg", ".png")


def gallery_of_files(
    pairs: Sequence[Pair],
    extremes: Extremes,
    label_space: LabelSpace,
    file_names: Mapping[ImageId, str],
    folder: str | None,
) -> tuple[Gallery, list[str]]:
    """Reads the images that are among the extremes again.

    Args:
      pairs: all images.
      extremes: those to read.
      label_space: the classes.
      file_names: of the images, where the ground truth names them.
      folder: of the images, searched with all its subfolders; None: there are none.

    Returns:
      A gallery of them, and what should be said about the images.
    """
    gallery = Gallery(label_space)
    index = _index(folder) if folder else {}
    missing = []
    for pair in pairs:
        image_id = pair.true.image_id
        if image_id not in extremes:
            continue
        truth, prediction = (
            panoptic_map(read_id_map(info.path), info.segments, label_space)
            for info in (pair.true, pair.predicted)
        )
        image = _find_image(image_id, file_names.get(image_id, ""), index)
        if image is not None and image.shape[:2] != truth.shape:
            image = None
        if folder and image is None:
            missing.append(str(image_id))
        gallery.keep(image_id, image, truth, prediction)
    notes = []
    if missing:
        notes.append(f"{folder} has no fitting image of {', '.join(missing)}")
    return gallery, notes


def panoptic_map(
    ids: np.ndarray, segments: Sequence[SegmentInfo], label_space: LabelSpace
) -> np.ndarray:
    """Turns the ids of a PNG [H, W] into a panoptic map; unlisted ones become unlabeled."""
    classes = {category.original_id: category for category in label_space.classes}
    instances: dict[int, int] = {}
    meaning: dict[int, int] = {}
    for segment in segments:
        category = classes.get(segment.category_id)
        if category is None:
            continue
        instance = 0
        if category.thing and not segment.crowd:
            instance = instances[category.id] = instances.get(category.id, 0) + 1
        meaning[segment.id] = category.id * label_space.label_divisor + instance
    present, index = number_values(ids)
    void = label_space.void_panoptic_id
    table = np.array([meaning.get(int(i), void) for i in present], np.int32)
    return table[index]


def _index(folder: str) -> dict[str, str]:
    """Returns the paths of all images below a folder by name without extension."""
    return {
        pathlib.PurePath(name).stem: os.path.join(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_EXTENSIONS)
    }


def _find_image(image_id: ImageId, file_name: str, index: Mapping[str, str]) -> np.ndarray | None:
    names = [
        pathlib.PurePath(file_name).stem,
        str(image_id),
        f"{image_id}_leftImg8bit",  # Cityscapes, whose JSON names images that don't exist
        str(image_id).zfill(12),  # COCO
    ]
    path = next((index[name] for name in names if name in index), None)
    try:
        return None if path is None else read_image(path)
    except BadExampleError:
        return None
