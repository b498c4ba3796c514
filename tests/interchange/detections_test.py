"""Roboflow's supervision gets the predictions; it is no requirement: pip install supervision."""

from __future__ import annotations

import numpy as np
import pytest

from kmax_tf.interchange.detections import detections
from kmax_tf.interchange.predictions import Predictions
from tests.interchange.scenes import LABELS, write_predictions

supervision = pytest.importorskip("supervision", reason="pip install supervision")


def test_detections_are_the_segments(tmp_path):
    maps = write_predictions(tmp_path, 5)
    names = {category.id: category.name for category in LABELS.classes}
    for image, panoptic in zip(Predictions(str(tmp_path / "predictions")), maps):
        found = detections(image)
        assert isinstance(found, supervision.Detections)
        masks = {
            (names[value // 100], (panoptic == value).tobytes())
            for value in np.unique(panoptic[panoptic > 0])
        }
        assert len(found) == len(masks)
        assert {(n, m.tobytes()) for n, m in zip(found["class_name"], found.mask)} == masks
        last = supervision.mask_to_xyxy(found.mask)[:, 2:]  # the last pixels themselves
        np.testing.assert_allclose(found.xyxy[:, 2:], last + 1)
        assert all(0.5 <= score < 1 for score in found.confidence)


def test_an_image_without_segments_has_none(tmp_path):
    write_predictions(tmp_path, 1)
    (image,) = Predictions(str(tmp_path / "predictions"))
    empty = type(image)(image.image_id, image.name, "", image.ids * 0, ())
    assert len(detections(empty)) == 0
