"""The laptop experiment learns a handful of images by heart: all its parts fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

import kmax_tf
from kmax_tf.cli.main import main
from kmax_tf.evaluation.evaluator import evaluate_model
from kmax_tf.keras_api import keras


@pytest.mark.slow
def test_a_handful_of_images_is_learned_by_heart(tmp_path: Path) -> None:
    shapes = [
        "make-shapes",
        "--output",
        str(tmp_path / "coco"),
        "--train=4",
        "--val=0",
        "--size=64",
    ]
    assert main(shapes) == 0
    source = ["--source", str(tmp_path / "coco"), "--output", str(tmp_path / "records")]
    assert main(["convert-dataset", "coco", *source, "--description=shapes", "--split=train"]) == 0
    size = [
        f"{data}.{field}=65"
        for data in ("train_data", "eval_data")
        for field in ("min_size", "max_size")
    ]
    experiment = kmax_tf.load_experiment(
        "shapes/laptop.textproto",
        [
            f"data_dir={tmp_path / 'records'}",
            *size,
            "train_data.crop_size=65,65",
            "eval_data.crop_size=65,65",
            "eval_data.records=train*.tfrecord",
            "train_data.batch_size=4",
            "train_data.augmentation={flip_probability: 0}",
            "losses.instance_discrimination.sample_count=128",
            "training.steps=300",
            "training.optimizer.warmup_steps=20",
        ],
    )
    keras.utils.set_random_seed(0)
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    model.fit(kmax_tf.build_dataset(experiment, training=True), steps_per_epoch=300, verbose=0)
    result = evaluate_model(model, experiment, str(tmp_path / "pictures")).result
    assert result["images"] == 4
    assert result["pq"]["all"] > 70, result["per_class"]
