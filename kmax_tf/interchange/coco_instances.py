"""COCO's formats of instances: annotations with images and categories, and lists of results.

Every annotation says where it is from, in `attributes`, which CVAT and Datumaro keep. Tools that
don't keep it: what comes back is compared with what went out (`origins`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kmax_tf.files.writing import write_atomically
from kmax_tf.interchange.image_numbers import numbers_of
from kmax_tf.interchange.polygons import PolygonMaker
from kmax_tf.interchange.predictions import PredictedImage, PredictedSegment, Predictions
from kmax_tf.labels import Category
from kmax_tf.panoptic.entries import PREDICTED


def write_coco_instances(
    predictions: Predictions, path: str, polygons: PolygonMaker | None = None
) -> int:
    """Writes a JSON of annotations; returns how many images are in it.

    Args:
      predictions: with the folder of the images.
      path: of the JSON.
      polygons: draws polygons; None: masks are run lengths.

    Raises:
      OutputError: the file can't be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in predictions:
        for segment in image.segments:
            # The image's place, for the moment.
            head = {"id": len(annotations) + 1, "image_id": len(images)}
            annotations.append({**head, **_annotation(segment, image, polygons)})
        images.append(image_entry(image))
    numbers = numbers_of(images)
    for entry, number in zip(images, numbers):
        entry["id"] = number
    for annotation in annotations:
        annotation["image_id"] = numbers[annotation["image_id"]]
    content = {
        "info": {"description": "predictions of kmax_tf"},
        "images": images,
        "annotations": annotations,
        "categories": category_entries(predictions.categories),
    }
    write_atomically(path, json.dumps(content) + "\n")
    return len(images)


def write_coco_results(predictions: Predictions, path: str) -> int:
    """Writes a list of results, as pycocotools' `loadRes` takes it; returns how many images it has.

    What has no score gets 1. Image ids are those of the predictions.

    Raises:
      OutputError: the file can't be written.
    """
    results: list[dict[str, Any]] = []
    count = 0
    for image in predictions:
        count += 1
        results += [
            {
                "image_id": image.image_id,
                "category_id": segment.category.original_id,
                "segmentation": segment.code,
                "bbox": list(map(float, segment.bbox)),
                "area": segment.area,
                "score": 1.0 if segment.score is None else segment.score,
            }
            for segment in image.segments
        ]
    write_atomically(path, json.dumps(results) + "\n")
    return count


def image_entry(image: PredictedImage) -> dict[str, Any]:
    """Returns an image's entry in a list of images."""
    return {
        "id": image.image_id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
    }


def category_entries(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """Returns the list of categories, with isthing and color, which others leave alone."""
    return [
        {
            "id": category.original_id,
            "name": category.name,
            "supercategory": "",
            "isthing": int(category.thing),
            "color": list(category.color),
        }
        for category in categories
    ]


def _annotation(
    segment: PredictedSegment, image: PredictedImage, polygons: PolygonMaker | None
) -> dict[str, Any]:
    attributes: dict[str, Any] = {"origin": PREDICTED}
    if segment.score is not None:
        attributes["score"] = round(segment.score, 4)
    entry: dict[str, Any] = {
        "category_id": segment.category.original_id,
        "segmentation": segment.code,
        "area": segment.area,
        "bbox": list(map(float, segment.bbox)),
        "iscrowd": 0,
    }
    if polygons is not None:
        entry["segmentation"], attributes["agreement"] = polygons.draw(image, segment)
    if segment.score is not None:
        entry["score"] = segment.score
    return {**entry, "attributes": attributes}
