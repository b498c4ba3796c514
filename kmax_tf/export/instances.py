"""Things of a panoptic map as COCO's result format has them: run-length masks with scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.files.writing import write_atomically
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.segments import find_segments


def coco_instances(
    prediction: Mapping[str, np.ndarray], labels: LabelSpace, image_id: int | str
) -> list[dict[str, Any]]:
    """Describes the things of one image, best first, as pycocotools' `loadRes` takes them.

    Args:
      prediction: with panoptic [H, W], and segment_ids and segment_scores [N].
      labels: what ids mean.
      image_id: of the image.

    Returns:
      Of each thing image_id, category_id (the publisher's), segmentation (compressed RLE), bbox
      [x, y, width, height] and area in pixels, score (what masks are ranked by, 0..1), and name.
    """
    runs, classes = find_segments(prediction["panoptic"], labels, "prediction", columns=True)
    places = {panoptic_id: place for place, panoptic_id in enumerate(runs.values.tolist())}
    found = []
    for panoptic_id, score in zip(prediction["segment_ids"], prediction["segment_scores"]):
        place = places.get(int(panoptic_id))
        if place is None or classes[place] < 0 or not labels.is_thing[classes[place]]:
            continue
        category, code = labels.classes[classes[place]], runs.encode(place)
        found.append(
            {
                "image_id": image_id,
                "category_id": category.original_id,
                "segmentation": code,
                "bbox": [float(value) for value in rle_masks.toBbox(code)],
                "area": int(runs.areas[place]),
                "score": float(score),
                "name": category.name,
            }
        )
    return sorted(found, key=lambda instance: -instance["score"])


def write_instances(path: str, instances: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON of instances, as `coco_instances` describes them.

    Raises:
      OutputError: the file can't be written.
    """
    write_atomically(path, json.dumps(list(instances), indent=1) + "\n")
