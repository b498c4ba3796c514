"""Predictions as a dataset in COCO's panoptic format, which `convert-dataset coco-format` reads."""

from __future__ import annotations

import json
import os
from typing import Any

from kmax_tf.files.writing import write_atomically
from kmax_tf.interchange.coco_instances import category_entries, image_entry
from kmax_tf.interchange.image_numbers import numbers_of
from kmax_tf.interchange.predictions import Predictions
from kmax_tf.panoptic.entries import PREDICTED
from kmax_tf.panoptic.png import encode_ids


def write_coco_panoptic(predictions: Predictions, path: str) -> int:
    """Writes a JSON, and PNGs of ids into the folder of its name; returns how many images it has.

    Args:
      predictions: with the folder of the images.
      path: of the JSON.

    Raises:
      OutputError: a file can't be written.
    """
    folder = os.path.splitext(path)[0]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in predictions:
        write_atomically(os.path.join(folder, f"{image.name}.png"), encode_ids(image.ids))
        images.append(image_entry(image))
        listed = []
        for segment in image.segments:
            info = {
                "id": segment.id,
                "category_id": segment.category.original_id,
                "area": segment.area,
                "bbox": list(segment.bbox),
                "iscrowd": 0,
                "origin": PREDICTED,
            }
            scored = {} if segment.score is None else {"score": segment.score}
            listed.append({**info, **scored})
        annotations.append({"file_name": f"{image.name}.png", "segments_info": listed})
    for entry, annotation, number in zip(images, annotations, numbers_of(images)):
        entry["id"] = annotation["image_id"] = number
    content = {
        "images": images,
        "annotations": annotations,
        "categories": category_entries(predictions.categories),
    }
    write_atomically(path, json.dumps(content) + "\n")
    return len(images)
