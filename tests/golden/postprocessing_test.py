"""Post-processing against the maps that the public implementation makes of recorded logits."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.config import label_space
from kmax_tf.postprocessing.builder import build_postprocessor

SETTINGS = [
    "config",
    "small_area",
    "no_area",
    "pixelwise",
    "low_conf",
    "mask_weight0",
    "mask_weight2",
]


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(pathlib.Path(__file__).parent / "postprocessing_coco.npz"))


def postprocessor(params):
    """Builds ours from the settings of the recording."""
    options = [
        f"postprocessing.pixel_threshold={params['pixel_confidence_threshold']}",
        f"postprocessing.thing_area_limit={params['thing_area_limit']}",
        f"postprocessing.stuff_area_limit={params['stuff_area_limit']}",
    ]
    if params["mode"] == "pixelwise":
        threshold = params["class_threshold_pixelwise"]
        options.append(f"postprocessing.pixel_wise.class_threshold={threshold}")
    else:
        mask_wise = {
            "thing_threshold": "thing_thr",
            "stuff_threshold": "stuff_thr",
            "overlap_threshold": "overlap",
            "class_weight": "class_w",
            "mask_weight": "mask_w",
        }
        options += [
            f"postprocessing.mask_wise.{ours}={params[theirs]}"
            for ours, theirs in mask_wise.items()
        ]
    return build_postprocessor(kmax_tf.load_experiment("coco/resnet50.textproto", options))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
def test_maps_agree(recorded, setting, compiled):
    postprocess = postprocessor(json.loads(str(recorded[f"{setting}/params"])))
    predictions = {key: tf.constant(recorded[key]) for key in ("mask_logits", "class_logits")}
    maps = (tf.function(postprocess) if compiled else postprocess)(predictions)
    np.testing.assert_array_equal(maps["panoptic"], recorded[f"{setting}/panoptic"])
    np.testing.assert_array_equal(maps["semantic"], recorded["semantic"])
    for key in ("instance_scores", "semantic_scores"):
        np.testing.assert_allclose(
            maps[key][:, ::6, ::6], recorded[f"{setting}/{key}"], rtol=1e-5, atol=1e-6, err_msg=key
        )


def test_the_experiment_has_the_published_settings(recorded):
    params = json.loads(str(recorded["config/params"]))
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    assert build_postprocessor(experiment) == postprocessor(params)
    assert label_space(experiment.dataset).label_divisor == params["label_divisor"]


def test_the_recording_holds_an_image_with_and_one_without_segments(recorded):
    counts = [len(np.unique(image)) for image in recorded["no_area/panoptic"]]
    assert counts[0] > 10
    assert counts[1] == 1
