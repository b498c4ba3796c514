"""Generator of "shapes": a panoptic dataset for laptops, written as COCO panoptic files.

Four textured stuff classes cover the image; things of five outlines and many sizes, mostly in
the colour usual for their class, overlap and hide each other; some patches are unlabeled and some
clusters of tiny things are annotated as one crowd region.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

from kmax_tf.conversion.shapes_scene import (
    SPLITS,
    STUFF,
    THINGS,
    ShapesExample,
    ShapesOptions,
    draw_example,
)
from kmax_tf.errors import OutputError, UserError
from kmax_tf.files.images import encode_image
from kmax_tf.files.ownership import check_free
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import Advance, run_tasks
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.panoptic.png import encode_ids

JPEG_QUALITY = 95
# Raised whenever the same options would draw other images.
_VERSION = 5
_IMAGES_OF_A_TASK = 100


def write_shapes(
    output: str | os.PathLike[str],
    split: str,
    count: int,
    options: ShapesOptions,
    workers: int = 1,
) -> pathlib.Path:
    """Writes a split as COCO panoptic files.

    They are OUTPUT/SPLIT2017/*.jpg, OUTPUT/annotations/panoptic_SPLIT2017/*.png and, last and
    whole, OUTPUT/annotations/panoptic_SPLIT2017.json. A finished split of the same options is left
    as it is.

    Args:
      output: folder, made where it isn't there.
      split: one of SPLITS.
      count: number of images.
      options: what images look like.
      workers: processes; few images are drawn in this one.

    Returns:
      The path of the JSON.

    Raises:
      UserError: an unknown split or options that cannot be drawn.
      OutputError: the folder cannot be written.
    """
    _check(split, count, options)
    root = pathlib.Path(output)
    image_folder, map_folder = _folders(root, split)
    json_path = map_folder.with_suffix(".json")
    # Through JSON, as it will be read back: tuples become lists.
    drawn = json.loads(json.dumps(dataclasses.asdict(options)))
    info = {"description": "shapes", "version": _VERSION, "count": count, "options": drawn}
    if _is_finished(json_path, info):
        return json_path
    for folder in (image_folder, map_folder):
        check_writable(folder)
    if not json_path.exists():
        check_free([*image_folder.iterdir(), *map_folder.iterdir()])
    write_atomically(json_path, "{}")  # the folders are ours from here on, and unfinished
    content: dict[str, Any] = {"info": info, "images": [], "annotations": []}
    progress = Progress(count, f"draw {split}")
    tasks = [
        range(first, min(first + _IMAGES_OF_A_TASK, count))
        for first in range(0, count, _IMAGES_OF_A_TASK)
    ]
    draw = functools.partial(_draw, root, split, options)
    for images, labels in run_tasks(draw, tasks, workers, progress):
        content["images"] += images
        content["annotations"] += labels
    content["categories"] = categories()
    write_atomically(json_path, json.dumps(content))
    return json_path


def _folders(root: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns where images and their maps of ids are."""
    return root / f"{split}2017", root / "annotations" / f"panoptic_{split}2017"


def _draw(
    root: pathlib.Path, split: str, options: ShapesOptions, indices: range, advance: Advance
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Draws images; returns what the JSON says of each and of its segments."""
    image_folder, map_folder = _folders(root, split)
    images, labels = [], []
    for index in indices:
        example = draw_example(options, split, index)
        image_id = SPLITS.index(split) * 10_000_000 + index + 1
        image_name, map_name = f"{image_id:012d}.jpg", f"{image_id:012d}.png"
        _write_images(image_folder / image_name, map_folder / map_name, example)
        height, width = example.ids.shape
        images.append({"id": image_id, "file_name": image_name, "height": height, "width": width})
        labels.append(
            {"image_id": image_id, "file_name": map_name, "segments_info": example.segments}
        )
        advance()
    return images, labels


def _is_finished(json_path: pathlib.Path, info: dict[str, Any]) -> bool:
    try:
        content = json.loads(json_path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("info") == info


def categories() -> list[dict[str, Any]]:
    """Returns the dataset's classes as COCO's JSON lists them."""
    kinds = [kind for kind, _ in THINGS] + [kind for kind, _ in STUFF]
    return [
        {
            "id": kind.id,
            "name": kind.name,
            "isthing": int(kind.thing),
            "color": kind.color,
            "supercategory": "shape" if kind.thing else "texture",
        }
        for kind in kinds
    ]


def _write_images(image_path: pathlib.Path, map_path: pathlib.Path, example: ShapesExample) -> None:
    try:
        # Not atomic, for speed: only the JSON, written last, makes files a part of the dataset.
        image_path.write_bytes(encode_image(example.image, "JPEG", quality=JPEG_QUALITY))
        map_path.write_bytes(encode_ids(example.ids, compress_level=3))
    except OSError as error:
        raise OutputError(f"cannot write {image_path.parent}: {error.strerror}") from error


def _check(split: str, count: int, options: ShapesOptions) -> None:
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}' of shapes; it is one of {', '.join(SPLITS)}")
    if not 0 < count < 10_000_000:
        raise UserError(f"cannot draw {count} images; give a number from 1 to 9999999")
    if min(options.size) < 16 or max(options.size) > 4096:
        raise UserError(f"images of {options.size} cannot be drawn; sides are 16 to 4096 pixels")
    for name in ("num_things", "radius"):
        low, high = getattr(options, name)
        if not 0 <= low <= high:
            raise UserError(f"{name} must be a range from low to high, not {low} to {high}")
