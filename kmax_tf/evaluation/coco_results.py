"""Panoptic maps as files of the COCO panoptic format: PNG images of ids and a JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import scipy.ndimage

from kmax_tf.evaluation.segments import find_segments
from kmax_tf.figures.colors import segment_colors
from kmax_tf.files.writing import PathLike, write_atomically

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

_NUM_IDS = 1 << 24


def id2rgb(ids: np.ndarray) -> np.ndarray:
    """Turns 24-bit ids [H, W] into colors [H, W, 3] uint8: id = R + 256 G + 65536 B.

    Raises:
      ValueError: an id doesn't fit into 24 bits.
    """
    if ids.size and (ids.min() < 0 or ids.max() >= _NUM_IDS):
        raise ValueError(f"ids must be in [0, {_NUM_IDS}), not {ids.min()} .. {ids.max()}")
    return np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], axis=-1).astype(np.uint8)


def rgb2id(rgb: np.ndarray) -> np.ndarray:
    """Turns colors [H, W, 3] uint8 into ids [H, W] int32: the inverse of `id2rgb`."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue


def encode_panoptic(
    panoptic: np.ndarray, label_space: LabelSpace, scores: Mapping[int, float] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Gives each segment of an image a 24-bit id and describes it.

    An id is the segment's color in our pictures, so that the PNG is a picture too; 0 is unlabeled.

    Args:
      panoptic: [H, W] integer panoptic map.
      label_space: what the ids mean.
      scores: confidence of segments by panoptic id.

    Returns:
      ids: [H, W] int32.
      segments_info: of each segment id, category_id (the publisher's), isthing, iscrowd, area,
        bbox [x, y, width, height] in pixels; beside the format's own keys also name, the number
        of the instance (0: stuff), and score where given.

    Raises:
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    segments = find_segments(panoptic, label_space, "panoptic map")
    ids = _unique_ids(segments.ids[segments.classes >= 0], label_space)
    of_segment = np.zeros(len(segments.ids), np.int32)
    of_segment[segments.classes >= 0] = list(ids.values())
    boxes = scipy.ndimage.find_objects(segments.index + 1)
    info = []
    for segment in np.flatnonzero(segments.classes >= 0):
        category = label_space.classes[segments.classes[segment]]
        panoptic_id = int(segments.ids[segment])
        rows, columns = boxes[segment]
        info.append(
            {
                "id": ids[panoptic_id],
                "category_id": category.original_id,
                "iscrowd": 0,
                "isthing": int(category.thing),
                "area": int(segments.areas[segment]),
                "bbox": [
                    *(columns.start, rows.start),
                    *(columns.stop - columns.start, rows.stop - rows.start),
                ],
                "name": category.name,
                "instance": panoptic_id % label_space.label_divisor,
            }
        )
        if scores is not None and panoptic_id in scores:
            info[-1]["score"] = float(scores[panoptic_id])
    return of_segment[segments.index], info


def decode_panoptic(
    ids: np.ndarray, segments_info: Sequence[Mapping[str, Any]], label_space: LabelSpace
) -> np.ndarray:
    """Turns ids back into a panoptic map: the inverse of `encode_panoptic`.

    Files of others, which have no "instance", get instance numbers in the order of segments_info.

    Args:
      ids: [H, W] integers; 0 where unlabeled.
      segments_info: of each id at least "id" and "category_id"; "iscrowd" gives instance 0.
      label_space: what the panoptic ids will mean.

    Returns:
      [H, W] int32 panoptic map.

    Raises:
      ValueError: an id isn't in segments_info, or a category isn't one of the dataset.
    """
    by_original = {category.original_id: category for category in label_space.classes}
    panoptic_ids = {0: label_space.void_panoptic_id}
    instances: dict[int, int] = {}
    for entry in segments_info:
        category = by_original.get(entry["category_id"])
        if category is None:
            raise ValueError(f"category {entry['category_id']} isn't one of the dataset")
        instance = 0
        if category.thing and not entry.get("iscrowd", 0):
            instances[category.id] = instances.get(category.id, 0) + 1
            instance = entry.get("instance", instances[category.id])
        panoptic_ids[entry["id"]] = category.id * label_space.label_divisor + instance
    present, index = np.unique(ids, return_inverse=True)
    unknown = [str(i) for i in present if int(i) not in panoptic_ids]
    if unknown:
        raise ValueError(f"ids that segments_info doesn't list: {', '.join(unknown[:5])}")
    table = np.array([panoptic_ids[int(i)] for i in present], np.int32)
    return table[index.reshape(ids.shape)]


def write_panoptic_png(
    path: PathLike,
    panoptic: np.ndarray,
    label_space: LabelSpace,
    scores: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """Writes the PNG of a panoptic map, whole or not at all.

    Args:
      path: of the file.
      panoptic: [H, W] integer panoptic map.
      label_space: what the ids mean.
      scores: confidence of segments by panoptic id.

    Returns:
      segments_info, as of `encode_panoptic`.

    Raises:
      OutputError: the file can't be written.
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    ids, segments_info = encode_panoptic(panoptic, label_space, scores)
    png = io.BytesIO()
    PIL.Image.fromarray(id2rgb(ids)).save(png, format="png")
    write_atomically(path, png.getvalue())
    return segments_info


def read_panoptic_png(
    path: PathLike, segments_info: Sequence[Mapping[str, Any]], label_space: LabelSpace
) -> np.ndarray:
    """Reads a PNG of the COCO panoptic format.

    Returns:
      [H, W] int32 panoptic map.

    Raises:
      ValueError: an id isn't in segments_info, or a category isn't one of the dataset.
    """
    with PIL.Image.open(path) as image:
        ids = rgb2id(np.asarray(image.convert("RGB")))
    return decode_panoptic(ids, segments_info, label_space)


def id_of_name(name: str) -> int | str:
    """Returns the id of an image that no annotations tell: of all digits, a number as COCO's."""
    return int(name) if name.isascii() and name.isdecimal() else name


def annotation_entry(
    image_id: int | str, file_name: str, segments_info: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns an image's entry in the "annotations" of the JSON.

    Args:
      image_id: of the image.
      file_name: of its PNG, below the folder of the PNGs.
      segments_info: of `write_panoptic_png`.
    """
    return {
        "image_id": image_id,
        "file_name": file_name,
        "segments_info": [dict(entry) for entry in segments_info],
    }


def write_panoptic_json(
    path: PathLike, annotations: Sequence[Mapping[str, Any]], label_space: LabelSpace
) -> None:
    """Writes the JSON of predictions, with the dataset's categories, whole or not at all.

    Args:
      path: of the file.
      annotations: one an image, of `annotation_entry`.
      label_space: whose categories are listed.

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
        for category in label_space.classes
    ]
    content = {"annotations": list(annotations), "categories": categories}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _unique_ids(panoptic_ids: np.ndarray, label_space: LabelSpace) -> dict[int, int]:
    """Gives each panoptic id a 24-bit id other than 0: that of its color or the next free one."""
    taken = {0}
    unique = {}
    for panoptic_id, (red, green, blue) in segment_colors(panoptic_ids, label_space).items():
        candidate = red + 256 * green + 65536 * blue
        while candidate in taken:
            candidate = (candidate + 1) % _NUM_IDS
        taken.add(candidate)
        unique[panoptic_id] = candidate
    return unique
