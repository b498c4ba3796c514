"""What an earlier version wrote still loads, and gives what it gave."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.export.predictor import load_predictor
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_training_step

ARCHIVE = Path(__file__).with_name("earlier_version.zip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def model(folder: Path) -> keras.Model:
    return kmax_tf.build_model(kmax_tf.load_experiment(folder / "run" / "experiment.textproto"))


def assert_same_outputs(model: keras.Model, expected: dict[str, np.ndarray]) -> None:
    images = np.random.default_rng(1).uniform(0, 255, (1, 65, 65, 3)).astype(np.float32)
    outputs = model(tf.constant(images))
    for name in ("mask_logits", "class_logits"):
        value = expected[f"model/{name}"]
        # A pixel whose two best centers are all but equal may go to either: then a center moves.
        np.testing.assert_allclose(outputs[name], value, atol=2e-3 * np.abs(value).max())


def test_a_checkpoint_gives_the_same_outputs(folder, model, expected):
    report = kmax_tf.restore_weights(model, folder / "run")
    assert (report.step, report.restored) == (60, len(model.variables))
    assert_same_outputs(model, expected)


def test_training_goes_on_with_all_the_state_of_its_checkpoint(folder, model):
    step = build_training_step(
        kmax_tf.load_experiment(folder / "run" / "experiment.textproto"), model
    )
    step.begin()
    global_step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        global_step=global_step, optimizer=step.optimizer, **model.checkpoint_items
    )
    status = checkpoint.restore(str(folder / "run" / "ckpt-60"))
    status.assert_existing_objects_matched().assert_consumed()
    assert int(global_step) == 60


def test_a_keras_file_gives_the_same_outputs(folder, expected):
    assert_same_outputs(keras.models.load_model(folder / "model.keras"), expected)


def test_an_export_gives_the_same_maps(folder, expected):
    outputs = load_predictor(folder / "export")(expected["image"])
    for name in ("panoptic", "semantic"):
        assert np.mean(outputs[name] == expected[f"export/{name}"]) > 0.99
    for name in ("instance_scores", "segment_scores"):
        np.testing.assert_allclose(outputs[name], expected[f"export/{name}"], atol=2e-3)
