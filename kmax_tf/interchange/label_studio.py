"""Predictions as Label Studio's tasks, and its export of what became of them."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.files.writing import write_atomically
from kmax_tf.interchange.brush import decode_brush, encode_brush
from kmax_tf.interchange.predictions import PredictedImage, Predictions
from kmax_tf.labels import Category
from kmax_tf.panoptic.fields import FieldError

# Of the tags in the labeling configuration that is written.
_FROM_NAME, _TO_NAME, _DATA_KEY = "brush", "image", "image"
# Local files below the folder that Label Studio serves.
IMAGE_URL = "/data/local-files/?d={path}"
_PERCENT = 100
# Kinds of regions; brushes and polygons can be of one project.
_WITH_MASK = ("brushlabels", "polygonlabels")


def write_label_studio(
    predictions: Predictions, path: str, config_path: str, image_url: str = IMAGE_URL
) -> int:
    """Writes tasks with predictions, and a labeling configuration that fits them.

    Args:
      predictions: with the folder of the images.
      path: of the JSON of tasks.
      config_path: of the configuration (XML).
      image_url: where Label Studio finds an image; {path} stands for its path below the folder.

    Returns:
      How many images there are.

    Raises:
      OutputError: a file can't be written.
    """
    tasks = [_task(image, image_url) for image in predictions]
    write_atomically(path, json.dumps(tasks) + "\n")
    write_atomically(config_path, labeling_config(predictions.categories))
    return len(tasks)


def labeling_config(categories: Sequence[Category]) -> str:
    """Returns the configuration of a project: brushes, and polygons beside them."""
    labels = "".join(
        f"    <Label value={quoteattr(category.name)} "
        f'background="#{bytes(category.color).hex()}"/>\n'
        for category in categories
    )
    return (
        "<View>\n"
        f'  <Image name="{_TO_NAME}" value="${_DATA_KEY}" zoom="true"/>\n'
        f'  <BrushLabels name="{_FROM_NAME}" toName="{_TO_NAME}">\n{labels}  </BrushLabels>\n'
        f'  <PolygonLabels name="polygon" toName="{_TO_NAME}">\n{labels}  </PolygonLabels>\n'
        "</View>\n"
    )


def _task(image: PredictedImage, image_url: str) -> dict[str, Any]:
    results = []
    for segment in image.segments:
        result = {
            "id": f"segment-{segment.id}",
            "type": "brushlabels",
            "from_name": _FROM_NAME,
            "to_name": _TO_NAME,
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": encode_brush(image.ids == segment.id),
                "brushlabels": [segment.category.name],
            },
        }
        scored = {} if segment.score is None else {"score": segment.score}
        results.append({**result, **scored})
    scores = [segment.score for segment in image.segments if segment.score is not None]
    prediction: dict[str, Any] = {"model_version": "kmax_tf", "result": results}
    if scores:
        prediction["score"] = float(np.mean(scores))
    path = urllib.parse.quote(image.file_name)
    return {
        "data": {_DATA_KEY: image_url.replace("{path}", path)},
        "predictions": [prediction],
    }


def is_label_studio(content: Any) -> bool:
    """Returns whether a JSON is an export of tasks."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and "data" in first and "annotations" in first


def image_path_of(url: str) -> str:
    """Returns the path in an address: of ?d= where there is one."""
    parts = urllib.parse.urlsplit(url)
    named = urllib.parse.parse_qs(parts.query).get("d")
    return named[0] if named else urllib.parse.unquote(parts.path)


def region_code(result: Mapping[str, Any], height: int, width: int) -> tuple[str, dict[str, Any]]:
    """Returns the class and the pixels (COCO's run lengths) of a region of an export.

    Args:
      result: the region.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Raises:
      FieldError: it is neither a brush nor a polygon, or isn't whole.
    """
    kind, value = result.get("type"), result.get("value")
    named = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not named or kind not in _WITH_MASK:
        raise FieldError(
            f"a region of the kind {kind!r} has no mask; draw it with a brush or as a polygon"
        )
    try:
        size = (result["original_height"], result["original_width"])
        if size != (height, width):
            raise ValueError(f"it is of {size[1]} x {size[0]}, the image {width} x {height}")
        if kind == "brushlabels":
            mask = decode_brush(value["rle"], height, width)
            code = rle_masks.encode(np.asfortranarray(mask, np.uint8))
        else:
            scale = np.array([width / _PERCENT, height / _PERCENT])
            points = np.asarray(value["points"], np.float64) * scale
            if not np.isfinite(points).all() or len(points) < 3:
                raise ValueError("a polygon takes three points")
            code = rle_masks.merge(rle_masks.frPyObjects([points.ravel().tolist()], height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise FieldError(f"a region of {named[0]} can't be read: {error}") from error
    return str(named[0]), code
