"""Things as COCO's result format has them."""

from __future__ import annotations

import json

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.export.instances import coco_instances, write_instances
from kmax_tf.labels import Category, LabelSpace

LABELS = LabelSpace(
    (Category(3, "cat", True, (1, 0, 0), 17), Category(1, "grass", False, (2, 0, 0), 90)),
    *(4, 0, 100),
)
PREDICTION = {
    "panoptic": np.array([[301, 301, 302], [100, 0, 302]], np.int32),
    "segment_ids": np.array([0, 301, 302, 100, 303], np.int32),  # 303 lost all its pixels
    "segment_scores": np.array([0.9, 0.25, 0.5, 0.8, 0.7], np.float32),
}


def test_things_with_pixels_are_listed_best_first(tmp_path):
    instances = coco_instances(PREDICTION, LABELS, "photo")
    assert [instance["score"] for instance in instances] == [0.5, 0.25]
    for instance, panoptic_id in zip(instances, (302, 301)):
        mask = rle_masks.decode(instance["segmentation"])
        np.testing.assert_array_equal(mask, PREDICTION["panoptic"] == panoptic_id)
        assert instance["area"] == 2
        assert (instance["category_id"], instance["name"], instance["image_id"]) == (
            *(17, "cat"),
            "photo",
        )
    assert instances[0]["bbox"] == [2, 0, 1, 2]
    write_instances(str(tmp_path / "photo_instances.json"), instances)
    assert json.loads((tmp_path / "photo_instances.json").read_text()) == instances
