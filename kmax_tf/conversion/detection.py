"""What a folder holds: which of our layouts can read it, and what speaks for each."""

from __future__ import annotations

import os
from typing import NamedTuple

from kmax_tf.conversion.instance_layouts import (
    describe_instances,
    find_instance_splits,
    read_instance_splits,
)
from kmax_tf.conversion.label_pictures import read_label_picture
from kmax_tf.conversion.layouts import TreePatterns, splits_of_pattern
from kmax_tf.conversion.masks_format import MAP_SUFFIXES
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.image_index import ImageIndex
from kmax_tf.files.reading import is_file, is_folder, list_folder
from kmax_tf.wording import count_of

_MOST_LOOKED_AT = 5  # masks that tell of what kind they are
_LARGEST_CLASS = 255


class Reading(NamedTuple):
    """A way to read a folder: the layout of `kmax convert-dataset`, and what was found for it."""

    layout: str
    found: str


def find_readings(root: str) -> list[Reading]:
    """Returns the ways to read a folder.

    Raises:
      UserError: there is no such folder, or what it holds contradicts itself.
    """
    if not is_folder(root):
        raise UserError(f"there is no folder {root}")
    found = []
    pattern = TreePatterns().json
    panoptic = splits_of_pattern(root, pattern)
    if panoptic:
        found.append(Reading("coco-format", f"COCO panoptic ({pattern}): {', '.join(panoptic)}"))
    instances = find_instance_splits(root)
    if instances:
        files = read_instance_splits(instances)
        found.append(Reading("coco-instances", describe_instances(instances, files)))
    found += _of_masks(root)
    return found


def choose_reading(root: str, wanted: str | None) -> Reading:
    """Returns the one way to read a folder, or that of several which is wanted.

    Raises:
      UserError: there is none, or there are several and none is wanted.
    """
    readings = find_readings(root)
    chosen = [reading for reading in readings if wanted in (None, reading.layout)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(f"--as {reading.layout}: {reading.found}" for reading in readings)
    if wanted and readings:
        raise UserError(f"{root} can't be read by --as {wanted}, but by {listed}")
    if readings:
        raise UserError(f"{root} can be read in several ways; choose one: {listed}")
    raise UserError(
        f"{root} holds nothing that is known: no annotations/panoptic_SPLIT.json, no JSON of COCO "
        "instances where COCO, Roboflow, CVAT, Label Studio or FiftyOne put it, no folders images "
        "and masks (the guide to your own images shows the layouts)"
    )


def _of_masks(root: str) -> list[Reading]:
    """Returns pictures of classes, maps of ids, or both where only their owner knows."""
    images, masks = os.path.join(root, "images"), os.path.join(root, "masks")
    if not is_folder(images) or not is_folder(masks):
        return []
    counts = f"{count_of(len(ImageIndex(images).paths), 'image')}, masks in {masks}"
    ids = Reading("id-maps", f"maps of instance ids ({counts})")
    classes = Reading("masks", f"pictures of classes, or a mask for each segment ({counts})")
    files = [os.path.join(masks, name) for name in list_folder(masks)]
    files += [os.path.join(path, name) for path in files[:3] for name in list_folder(path)]
    maps = [path for path in files if path.lower().endswith(MAP_SUFFIXES)][:_MOST_LOOKED_AT]
    if any(map(_holds_many_values, maps)) or is_file(os.path.join(root, "instances.csv")):
        return [ids]
    if is_file(os.path.join(root, "classes.csv")):
        return [ids, classes] if is_folder(os.path.join(root, "classes")) else [classes]
    return [ids, classes]


def _holds_many_values(path: str) -> bool:
    """Returns whether a map holds what no picture of classes does: NPY, or values above 255."""
    if path.lower().endswith(".npy"):
        return True
    try:
        picture = read_label_picture(path)
    except BadExampleError:
        return False
    return picture.stored is not None and int(picture.stored.max()) > _LARGEST_CLASS
