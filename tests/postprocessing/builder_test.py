"""What an experiment says of post-processing reaches it (plain fields: config/options_test.py)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.postprocessing import builder
from kmax_tf.postprocessing.builder import build_postprocessor, build_views, output_maps
from kmax_tf.postprocessing.merging import MaskWise, PixelWise
from kmax_tf.postprocessing.merging_by_cells import MaskWiseByCells, PixelWiseByCells
from kmax_tf.postprocessing.postprocessor import MAPS
from kmax_tf.postprocessing.views import Views
from tests.options import with_defaults


def build(*overrides):
    return build_postprocessor(kmax_tf.load_experiment("coco/resnet50.textproto", overrides))


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


@pytest.mark.parametrize("kind", ["thing", "stuff"])
def test_threshold_reaches_the_classes_of_its_kind(kind):
    thresholds = build(f"postprocessing.mask_wise.{kind}_threshold=0.25").merging.class_thresholds
    assert [value == 0.25 for value in thresholds] == [kind == "thing"] * 80 + [
        kind == "stuff"
    ] * 53


def test_pixel_wise_takes_the_place_of_mask_wise():
    assert build("postprocessing.pixel_wise.class_threshold=0.25").merging.class_thresholds == (
        (0.25,) * 133
    )


@pytest.mark.parametrize("merging", ["mask_wise", "pixel_wise"])
def test_class_threshold_takes_the_place_of_that_of_the_kind(merging):
    others = build(f"postprocessing.{merging}={{}}").merging.class_thresholds
    thresholds = build(
        f"postprocessing.{merging}={{}}",
        'postprocessing.class_thresholds={name: "car" threshold: 0.125}',
    ).merging.class_thresholds
    changed = [index for index in range(133) if thresholds[index] != others[index]]
    assert [thresholds[index] for index in changed] == [0.125]
    labels = build().labels
    assert labels.classes[changed[0]].name == "car"


def test_the_ranking_of_the_pytorch_implementation_comes_with_its_network():
    assert not build().merging.full_size_scores
    experiment = kmax_tf.load_experiment("pytorch/coco_resnet50.textproto")
    assert build_postprocessor(experiment).merging.full_size_scores


@pytest.mark.parametrize(
    ("override", "forms"),
    [
        ("runtime.jit_compile=false", (MaskWiseByCells, PixelWiseByCells)),
        ("runtime.jit_compile=true", (MaskWise, PixelWise)),
        ("runtime.strategy=TPU", (MaskWise, PixelWise)),
    ],
)
def test_xla_compiles_the_definition_and_cpus_merge_by_cells(override, forms, monkeypatch):
    monkeypatch.setattr(builder, "accelerated", lambda: False)
    pixel_wise = "postprocessing={pixel_wise: {}}"
    assert (type(build(override).merging), type(build(override, pixel_wise).merging)) == forms
    monkeypatch.setattr(builder, "accelerated", lambda: True)
    assert type(build(override).merging) is MaskWise


@pytest.mark.parametrize("jit_compile", [False, True])
def test_any_graph_may_postprocess(jit_compile):
    """Whatever the experiment says of compiling: XLA takes what doesn't."""
    experiment = kmax_tf.load_experiment("shapes/laptop.textproto")
    rng = np.random.default_rng(0)
    predictions = {
        "mask_logits": tf.constant(rng.normal(size=[2, 9, 9, 16], scale=4), tf.float32),
        "class_logits": tf.constant(rng.normal(size=[2, 16, 10], scale=4), tf.float32),
    }
    graph = tf.function(lambda x: kmax_tf.postprocess(experiment, x), jit_compile=jit_compile)
    expected = kmax_tf.postprocess(experiment, predictions)
    for name, value in graph(predictions).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


def test_views_and_maps():
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    assert build_views(experiment) == with_defaults(Views)
    assert output_maps(experiment) == MAPS
    changes = [
        "postprocessing.test_time_augmentation={scales: [0.5, 1.5] flip: true}",
        "postprocessing.maps=INSTANCE_SCORES,PANOPTIC",
    ]
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto", changes)
    assert build_views(experiment) == with_defaults(Views, scales=(0.5, 1.5), flip=True)
    assert output_maps(experiment) == ("panoptic", "instance_scores")


def test_every_mask_is_explained():
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    rng = np.random.default_rng(0)
    predictions = {
        "mask_logits": tf.constant(rng.normal(size=[2, 5, 5, 7], scale=9), tf.float32),
        "class_logits": tf.constant(rng.normal(size=[2, 7, 134], scale=9), tf.float32),
    }
    maps = kmax_tf.postprocess(experiment, predictions)
    for image, reports in enumerate(kmax_tf.explain_masks(experiment, predictions)):
        assert sorted(report.center for report in reports) == list(range(7))
        for report in reports:
            kept = maps["segment_ids"][image, report.center] != 0
            assert (report.fate == "KEPT") == kept
