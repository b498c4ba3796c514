"""Post-processing against the maps that the public implementation makes of recorded logits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.config import label_space
from kmax_tf.postprocessing.builder import build_postprocessor
from tests.golden.postprocessing_settings import RECORDING, SETTINGS, parameters, postprocessor


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(RECORDING))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
def test_maps_agree(recorded, setting, compiled):
    postprocess = postprocessor(parameters(setting))
    predictions = {key: tf.constant(recorded[key]) for key in ("mask_logits", "class_logits")}
    maps = (tf.function(postprocess) if compiled else postprocess)(predictions)
    np.testing.assert_array_equal(maps["panoptic"], recorded[f"{setting}/panoptic"])
    np.testing.assert_array_equal(maps["semantic"], recorded["semantic"])
    for key in ("instance_scores", "semantic_scores"):
        np.testing.assert_allclose(
            maps[key][:, ::6, ::6], recorded[f"{setting}/{key}"], rtol=1e-5, atol=1e-6, err_msg=key
        )


def test_the_experiment_has_the_published_settings():
    params = parameters("config")
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    assert build_postprocessor(experiment) == postprocessor(params)
    assert label_space(experiment.dataset).label_divisor == params["label_divisor"]
