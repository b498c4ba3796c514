"""The shipped experiments: all valid, with the values that were published."""

import numpy as np
import pytest
from google.protobuf import text_format

from kmax_tf import config
from kmax_tf.protos import experiment_pb2
from tests import shipped

COCO = "coco/resnet50.textproto"


@pytest.mark.parametrize("path", shipped.experiments())
def test_every_shipped_experiment_is_valid_and_survives_a_round_trip(path):
    experiment = config.load_experiment(path)
    text = config.experiment_text(experiment)
    assert text_format.Parse(text, experiment_pb2.Experiment()) == experiment
    assert experiment.name == path.removesuffix(".textproto").replace("/", "_")


@pytest.mark.parametrize("path", shipped.experiments())
def test_every_published_experiment_says_what_was_published(path):
    published = config.load_experiment(path).published
    if path.split("/", 1)[0] in ("coco", "cityscapes", "ade20k"):
        assert 40 < published.pq < 70
        assert published.source
    else:
        assert not published.ListFields()


def value_at(message, path):
    for name in path.split("."):
        message = getattr(message, name)
    return message


@pytest.mark.parametrize("field", ["model", "train_data", "losses", "postprocessing", "training"])
def test_coco_has_the_published_values(field):
    experiment = config.load_experiment(COCO)
    published = {
        "model": [
            ("transformer_decoder.num_centers", 128),
            ("transformer_decoder.block_strides", [32, 32, 16, 16, 8, 8]),
            ("transformer_decoder.drop_path_keep_prob", 0.8),
            ("resnet.drop_path_keep_prob", 1.0),
            ("semantic_decoder.atrous_rates", [6, 12, 18]),
            ("heads.channels", 256),
            ("heads.embedding_channels", 128),
        ],
        "train_data": [
            ("batch_size", 64),
            ("crop_size", [1281, 1281]),
            ("min_size", 1281),
            ("max_size", 1281),
            ("max_segments", 181),
            ("small_instance_area", 0),
            ("augmentation.min_scale", 0.3),
            ("augmentation.max_scale", 1.7),
            ("augmentation.scale_step", 0.1),
        ],
        "losses": [
            ("pq_style.weight", 3.0),
            ("mask_id.weight", 0.3),
            ("instance_discrimination.weight", 1.0),
            ("instance_discrimination.sample_count", 4096),
            ("instance_discrimination.sample_temperature", 1.5),
            ("semantic.weight", 1.0),
            ("semantic.top_fraction", 1.0),
        ],
        "postprocessing": [
            ("mask_wise.thing_threshold", 0.7),
            ("mask_wise.stuff_threshold", 0.5),
            ("mask_wise.overlap_threshold", 0.8),
            ("mask_wise.class_weight", 1.0),
            ("mask_wise.mask_weight", 1.0),
            ("pixel_threshold", 0.4),
            ("thing_area_limit", 400),
            ("stuff_area_limit", 6400),
        ],
        "training": [
            ("steps", 150000),
            ("optimizer.learning_rate", 5e-4),
            ("optimizer.backbone_multiplier", 0.1),
            ("optimizer.warmup_steps", 5000),
            ("optimizer.adamw.weight_decay", 0.05),
            ("optimizer.clip_norm", 0.0),
        ],
    }[field]
    for path, value in published:
        found = value_at(getattr(experiment, field), path)
        np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=path)


# What differs from COCO.
CITYSCAPES = {
    "train_data": {
        "batch_size": 32,
        "crop_size": [1025, 2049],
        "min_size": 0,
        "max_size": 0,
        "max_segments": 267,
        "small_instance_area": 4096,
        "small_instance_weight": 3.0,
        "augmentation.min_scale": 0.5,
        "augmentation.max_scale": 2.0,
    },
    "eval_data": {"crop_size": [1025, 2049], "min_size": 0, "max_size": 0},
    "model": {
        "transformer_decoder.num_centers": 256,
        "transformer_decoder.drop_path_keep_prob": 0.8,
        "semantic_head.channels": 256,
    },
    "losses": {
        "instance_discrimination.sample_count": 4096,
        "instance_discrimination.sample_temperature": 0.6,
        "semantic.top_fraction": 0.2,
    },
    "training": {"steps": 60000, "optimizer.learning_rate": 3e-4, "optimizer.warmup_steps": 5000},
    "postprocessing": {
        "mask_wise.thing_threshold": 0.5,
        "mask_wise.stuff_threshold": 0.3,
        "mask_wise.overlap_threshold": 0.9,
        "mask_wise.class_weight": 1.0,
        "mask_wise.mask_weight": 0.0,
        "thing_area_limit": 256,
        "stuff_area_limit": 2048,
    },
    "dataset": {"num_ids": 19, "ignore_label": 255, "label_divisor": 1000},
}
ADE20K = {
    "train_data": {
        "batch_size": 64,
        "crop_size": [641, 641],
        "min_size": 641,
        "max_size": 641,
        "max_segments": 306,
        "small_instance_area": 0,
        "augmentation.min_scale": 0.5,
        "augmentation.max_scale": 2.0,
    },
    "eval_data": {"crop_size": [641, 641], "min_size": 641, "max_size": 641},
    "model": {
        "transformer_decoder.num_centers": 128,
        "transformer_decoder.drop_path_keep_prob": 1.0,
        "semantic_decoder.atrous_rates": [6, 12, 18],
    },
    "losses": {
        "instance_discrimination.sample_count": 1024,
        "instance_discrimination.sample_temperature": 1.5,
        "semantic.top_fraction": 1.0,
    },
    "training": {"steps": 100000, "optimizer.learning_rate": 5e-4, "optimizer.warmup_steps": 5000},
    "postprocessing": {
        "mask_wise.thing_threshold": 0.4,
        "mask_wise.stuff_threshold": 0.4,
        "mask_wise.overlap_threshold": 0.8,
        "mask_wise.class_weight": 1.0,
        "mask_wise.mask_weight": 1.0,
        "thing_area_limit": 0,
        "stuff_area_limit": 0,
    },
    "dataset": {"num_ids": 151, "ignore_label": 0, "label_divisor": 1000},
}
ADE20K_1281 = {
    "train_data": {"crop_size": [1281, 1281], "min_size": 1281, "max_size": 1281},
    "eval_data": {"crop_size": [1281, 1281], "min_size": 1281, "max_size": 1281},
    "losses": {"instance_discrimination.sample_count": 4096},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("cityscapes/resnet50.textproto", CITYSCAPES),
        ("cityscapes/convnext_tiny.textproto", CITYSCAPES),
        ("ade20k/resnet50.textproto", ADE20K),
        ("ade20k/convnext_large_1281.textproto", {**ADE20K, **ADE20K_1281}),
    ],
)
def test_other_datasets_have_the_published_values(path, expected):
    experiment = config.load_experiment(path)
    for part, values in expected.items():
        for name, value in values.items():
            found = value_at(getattr(experiment, part), name)
            np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=f"{part}.{name}")


KEEP_PROBS = {
    "coco": {
        "resnet50": 1.0,
        "max_s": 0.8,
        "convnext_tiny": 0.7,
        "convnext_small": 0.6,
        "convnext_base": 0.5,
        "convnext_large": 0.4,
    },
    "cityscapes": {
        "resnet50": 1.0,
        "max_s": 0.8,
        "convnext_tiny": 0.8,
        "convnext_small": 0.7,
        "convnext_base": 0.6,
        "convnext_large": 0.4,
    },
    "ade20k": {
        "resnet50": 1.0,
        "resnet50_1281": 1.0,
        "convnext_large": 0.3,
        "convnext_large_1281": 0.3,
    },
}


def test_drop_path_of_the_backbone_is_as_published():
    found = {}
    for path in shipped.experiments():
        folder, name = path.removesuffix(".textproto").split("/")
        model = config.load_experiment(path).model
        backbone = getattr(model, model.WhichOneof("backbone"))
        if folder in KEEP_PROBS:
            found.setdefault(folder, {})[name] = pytest.approx(backbone.drop_path_keep_prob)
    assert found == KEEP_PROBS
