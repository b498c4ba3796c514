"""Signatures that take more than images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.export.serving_model import ServingModel
from kmax_tf.inference import Inference
from kmax_tf.model.builder import build_model
from kmax_tf.postprocessing.builder import build_postprocessor, thresholds_of
from tests.training.tiny import tiny_experiment

SIZE = ("eval_data.crop_size=65,65", "eval_data.min_size=65", "eval_data.max_size=65")


@pytest.fixture(scope="module")
def model():
    return build_model(tiny_experiment(*SIZE))


@pytest.mark.parametrize("merging", ["mask_wise", "pixel_wise"])
def test_thresholds_are_those_of_the_request(model, merging):
    experiment = tiny_experiment(*SIZE, f"postprocessing.{merging}={{}}")
    names = set(thresholds_of(experiment))
    assert (
        names
        == {
            "mask_wise": {
                *("pixel_threshold", "thing_threshold", "stuff_threshold", "overlap_threshold")
            },
            "pixel_wise": {"pixel_threshold", "class_threshold"},
        }[merging]
    )
    inference = Inference(experiment, model)
    serve = ServingModel(inference, experiment).signature("with_thresholds")
    rng = np.random.default_rng(0)
    # At the size of the network's input, so that maps are what merging gives.
    images = rng.integers(0, 256, (2, 65, 65, 3), np.uint8)
    encoded = tf.stack([tf.io.encode_png(image) for image in images])
    predictions = [inference.predict(tf.cast(image[np.newaxis], tf.float32)) for image in images]
    seen = set()
    for pixel, others in ((0.0, 0.0), (0.07, 0.05), (0.4, 0.1)):
        given = {name: tf.constant(others) for name in names}
        # One for both images, or one for each.
        given["pixel_threshold"] = tf.constant([pixel, pixel / 2])
        reply = {name: x.numpy() for name, x in serve(image_bytes=encoded, **given).items()}
        for number, own in enumerate((pixel, pixel / 2)):
            changes = [
                f"postprocessing.{merging}.{name}={others}" for name in names - {"pixel_threshold"}
            ]
            changed = tiny_experiment(*SIZE, *changes, f"postprocessing.pixel_threshold={own}")
            panoptic = build_postprocessor(changed)(predictions[number])["panoptic"][0].numpy()
            ids = np.asarray(Image.open(io.BytesIO(reply["panoptic_png_bytes"][number])))
            np.testing.assert_array_equal(ids, panoptic)
            seen.add(panoptic.tobytes())
    assert len(seen) > 1
    for wrong in (1.5, float("nan"), [0.5] * 3):
        given["pixel_threshold"] = tf.constant(wrong)
        with pytest.raises(tf.errors.InvalidArgumentError, match="pixel_threshold must be a num"):
            serve(image_bytes=encoded, **given)
