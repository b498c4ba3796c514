"""Panoptic maps written as files of the COCO panoptic format: PNG images of ids and a JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from kmax_tf.files.writing import PathLike, write_atomically
from kmax_tf.panoptic.colors import segment_colors
from kmax_tf.panoptic.fields import ImageId, as_number
from kmax_tf.panoptic.png import LARGEST_ID, encode_ids
from kmax_tf.panoptic.segments import find_segments

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace


def encode_panoptic(
    panoptic: np.ndarray, labels: LabelSpace, scores: Mapping[int, float] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Gives each segment of an image a 24-bit id and describes it.

    An id is the segment's color in our pictures, so that the PNG is a picture too; 0 is unlabeled.

    Args:
      panoptic: [H, W] integer panoptic map.
      labels: what the ids mean.
      scores: confidence of segments by panoptic id.

    Returns:
      ids: [H, W] int32.
      segments_info: of each segment id, category_id (the publisher's), isthing, iscrowd, area,
        bbox [x, y, width, height] in pixels; beside the format's own keys also name, the number
        of the instance (0: stuff), and score where given.

    Raises:
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    runs, classes = find_segments(panoptic, labels, "panoptic map")
    ids = _unique_ids(runs.values[classes >= 0], labels)
    table = np.zeros(len(classes), np.int32)
    table[classes >= 0] = list(ids.values())
    boxes = scipy.ndimage.find_objects(runs.places() + 1)
    info = []
    for place in np.flatnonzero(classes >= 0):
        category = labels.classes[classes[place]]
        panoptic_id = int(runs.values[place])
        rows, columns = boxes[place]
        width, height = columns.stop - columns.start, rows.stop - rows.start
        info.append(
            {
                "id": ids[panoptic_id],
                "category_id": category.original_id,
                "iscrowd": 0,
                "isthing": int(category.thing),
                "area": int(runs.areas[place]),
                "bbox": [columns.start, rows.start, width, height],
                "name": category.name,
                "instance": panoptic_id % labels.label_divisor,
            }
        )
        if scores is not None and panoptic_id in scores:
            info[-1]["score"] = float(scores[panoptic_id])
    return runs.paint(table), info


def write_annotation(
    folder: str,
    name: str,
    image_id: ImageId | None,
    panoptic: np.ndarray,
    labels: LabelSpace,
    scores: Mapping[int, float] | None = None,
) -> dict[str, Any]:
    """Writes FOLDER/NAME.png, the ids of a panoptic map, whole or not at all.

    Args:
      folder: of the PNGs.
      name: of the image.
      image_id: what annotations call it; None: its name, as a number if that is all digits.
      panoptic: [H, W] integer panoptic map.
      labels: what the ids mean.
      scores: confidence of segments by panoptic id.

    Returns:
      The image's entry in the list "annotations" of a JSON.

    Raises:
      OutputError: the file can't be written.
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    ids, segments_info = encode_panoptic(panoptic, labels, scores)
    write_atomically(os.path.join(folder, f"{name}.png"), encode_ids(ids))
    image_id = as_number(name) if image_id is None else image_id
    return {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments_info}


def write_panoptic_json(
    path: PathLike, annotations: Sequence[Mapping[str, Any]], labels: LabelSpace
) -> None:
    """Writes the JSON of what `write_annotation` gave, with the categories, whole or not at all.

    Raises:
      OutputError: the file can't be written.
    """
    categories = [
        {
            "id": category.original_id,
            "name": category.name,
            "isthing": int(category.thing),
            "color": list(category.color),
        }
        for category in labels.classes
    ]
    content = {"annotations": list(annotations), "categories": categories}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _unique_ids(panoptic_ids: np.ndarray, labels: LabelSpace) -> dict[int, int]:
    """Gives each panoptic id a 24-bit id other than 0: that of its color or the next free one."""
    taken = {0}
    unique = {}
    for panoptic_id, (red, green, blue) in segment_colors(panoptic_ids, labels).items():
        candidate = red + 256 * green + 65536 * blue
        while candidate in taken:
            candidate = (candidate + 1) % (LARGEST_ID + 1)
        taken.add(candidate)
        unique[panoptic_id] = candidate
    return unique
