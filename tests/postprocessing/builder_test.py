"""Every field of an experiment's post-processing reaches it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.config import label_space
from kmax_tf.postprocessing.builder import build_postprocessor
from kmax_tf.postprocessing.merging import MaskWise, PixelWise


def build(*overrides):
    return build_postprocessor(kmax_tf.load_experiment("coco/resnet50.textproto", overrides))


def test_published_values():
    postprocess = build()
    assert postprocess.output_stride == 4
    assert postprocess.pixel_threshold == pytest.approx(0.4)
    assert (postprocess.thing_area_limit, postprocess.stuff_area_limit) == (400, 6400)
    thresholds = (0.7,) * 80 + (0.5,) * 53
    assert postprocess.merging.class_thresholds == pytest.approx(thresholds)
    options = {**vars(postprocess.merging), "class_thresholds": thresholds}
    assert options == pytest.approx(vars(MaskWise(thresholds, 0.8, 1.0, 1.0)))


@pytest.mark.parametrize(
    ("path", "override", "stride"),
    [
        ("coco/convnext_tiny.textproto", (), 4),
        ("cityscapes/resnet50.textproto", (), 2),
        # Its fifth stage reads the stem, which has stride 4.
        ("cityscapes/convnext_tiny.textproto", (), 4),
        ("cityscapes/convnext_tiny.textproto", ("model.convnext.stem_to_stride_2=true",), 2),
    ],
)
def test_output_stride_is_that_of_the_mask_logits(path, override, stride):
    experiment = kmax_tf.load_experiment(path, override)
    assert build_postprocessor(experiment).output_stride == stride


@pytest.mark.parametrize(
    "field",
    ["overlap_threshold", "class_weight", "mask_weight"],
)
def test_mask_wise_field_reaches_the_option(field):
    merging = build(f"postprocessing.mask_wise.{field}=0.25").merging
    assert getattr(merging, field) == 0.25


@pytest.mark.parametrize("kind", ["thing", "stuff"])
def test_threshold_reaches_the_classes_of_its_kind(kind):
    thresholds = build(f"postprocessing.mask_wise.{kind}_threshold=0.25").merging.class_thresholds
    assert [value == 0.25 for value in thresholds] == [kind == "thing"] * 80 + [
        kind == "stuff"
    ] * 53


def test_pixel_wise_takes_the_place_of_mask_wise():
    assert build("postprocessing.pixel_wise.class_threshold=0.25").merging == PixelWise(
        (0.25,) * 133
    )


@pytest.mark.parametrize("field", ["pixel_threshold", "thing_area_limit", "stuff_area_limit"])
def test_common_field_reaches_the_option(field):
    value = 0.25 if field == "pixel_threshold" else 7
    assert getattr(build(f"postprocessing.{field}={value}"), field) == value


def test_postprocess_merges_as_the_experiment_says():
    experiment = kmax_tf.load_experiment("shapes/laptop.textproto")
    labels = label_space(experiment.dataset)
    centers, classes = 16, labels.num_classes
    logits = np.zeros([1, centers, classes + 1], np.float32)
    logits[..., 7] = 20.0
    predictions = {
        "mask_logits": tf.one_hot(tf.fill([1, 25, 25], 3), centers) * 20.0,
        "class_logits": tf.constant(logits),
    }
    maps = kmax_tf.postprocess(experiment, predictions)
    assert maps["panoptic"].shape == [1, 97, 97]
    assert set(np.unique(maps["panoptic"])) == {labels.ids[7] * labels.label_divisor}
