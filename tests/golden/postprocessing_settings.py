"""The settings that post-processing was recorded with."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

import kmax_tf
from kmax_tf.postprocessing.builder import build_postprocessor
from kmax_tf.postprocessing.postprocessor import Postprocessor

RECORDING = pathlib.Path(__file__).parent / "postprocessing_coco.npz"
SETTINGS = [
    "config",
    "small_area",
    "no_area",
    "pixelwise",
    "low_conf",
    "mask_weight0",
    "mask_weight2",
]


def parameters(setting: str) -> dict[str, Any]:
    """Returns the recorded parameters of a setting."""
    with np.load(RECORDING) as recorded:
        return json.loads(str(recorded[f"{setting}/params"]))


def postprocessor(params: dict[str, Any]) -> Postprocessor:
    """Builds ours with recorded parameters."""
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
