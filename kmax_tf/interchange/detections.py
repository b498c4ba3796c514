"""Predictions as Roboflow's `supervision` has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmax_tf.interchange.predictions import PredictedImage


def detections(image: PredictedImage) -> Any:
    """Returns a `supervision.Detections`: a mask, box, score and class id a segment.

    `class_id` is the publisher's id; names are in data["class_name"], as supervision's annotators
    look for them. What has no score has 1. Of an image without segments it is empty.

    Args:
      image: of `Predictions`, as in `for image in Predictions("predictions"): detections(image)`.
    """
    import supervision

    segments = image.segments
    if not segments:
        return supervision.Detections.empty()
    boxes = np.array([segment.bbox for segment in segments], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return supervision.Detections(
        xyxy=boxes,
        mask=np.stack([image.ids == segment.id for segment in segments]),
        confidence=np.array([1 if s.score is None else s.score for s in segments], np.float32),
        class_id=np.array([segment.category.original_id for segment in segments]),
        data={"class_name": np.array([segment.category.name for segment in segments])},
    )
