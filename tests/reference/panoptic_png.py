"""Reads what we write in COCO's panoptic format, pixel by pixel."""

from __future__ import annotations

import numpy as np
from PIL import Image


def read_panoptic_png(path, segments_info, labels) -> np.ndarray:
    """Returns the panoptic map [H, W] int32 of a PNG whose segments say their instance."""
    ids = np.asarray(Image.open(path)).astype(np.int32) @ [1, 256, 65536]
    class_ids = {category.original_id: category.id for category in labels.classes}
    panoptic = np.full(ids.shape, labels.void_panoptic_id, np.int32)
    assert set(np.unique(ids)) <= {0, *(entry["id"] for entry in segments_info)}
    for entry in segments_info:
        class_id = class_ids[entry["category_id"]]
        panoptic[ids == entry["id"]] = class_id * labels.label_divisor + entry["instance"]
    return panoptic
