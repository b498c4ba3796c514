"""Pictures of cluster assignments that an evaluation in training leaves in TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orbit
import pytest
import tensorflow as tf
from official.core import base_trainer

from kmax_tf.export.explainer import Explainer
from kmax_tf.keras_api import keras
from kmax_tf.model.kmax import KMaX
from kmax_tf.protos import experiment_pb2
from kmax_tf.training import task
from tests.model.weights import randomize
from tests.training.tiny import tiny_batch, tiny_experiment

BATCH, SIDE = 3, 65


def load(*overrides: str) -> experiment_pb2.Experiment:
    return tiny_experiment(
        "model.transformer_decoder.block_strides=[16, 8]",
        "eval_data={crop_size: [65, 65] min_size: 65 max_size: 65}",
        "training.summary_images=2",
        *overrides,
    )


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> tf.Tensor:
    """Makes evaluations read one batch of images as large as the network's input."""
    pixels, targets = tiny_batch(load(), BATCH)
    sizes = tf.constant([[SIDE, SIDE]] * BATCH)
    raw = {
        "image_id": tf.constant(["a", "b", "c"]),
        "source_id": tf.constant(["", "", ""]),
        "raw_size": sizes,
        "fitted_size": sizes,
        "panoptic": targets["semantic_map"] * load().dataset.label_divisor,
    }
    dataset = tf.data.Dataset.from_tensors((pixels, targets, raw))
    monkeypatch.setattr(task, "build_dataset", lambda *args: dataset)
    return pixels


def evaluate(
    experiment: experiment_pb2.Experiment, model: KMaX, folder: Path
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Evaluates as a run does, and returns the metrics and the pictures read back."""
    config = task.experiment_config(experiment)
    trainer = base_trainer.Trainer(
        config,
        task.KMaXTask(config.task),
        model,
        keras.optimizers.SGD(),
        train=False,
        evaluate=True,
    )
    controller = orbit.Controller(
        evaluator=trainer, global_step=trainer.global_step, eval_summary_dir=str(folder)
    )
    output = controller.evaluate()
    pictures = {}
    for path in folder.glob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    _, _, encoded = tf.make_ndarray(value.tensor)
                    pictures[value.tag] = tf.io.decode_png(encoded).numpy()
    return {name: float(np.asarray(value)) for name, value in output.items()}, pictures


@pytest.mark.slow
def test_assignments_are_drawn_beside_the_pictures_and_change_nothing_else(
    images: tf.Tensor, tmp_path: Path
) -> None:
    model = task.KMaXTask(task.experiment_config(load()).task).build_model()
    randomize(model)
    metrics, pictures = evaluate(load(), model, tmp_path / "plain")
    asked = load("training.summary_assignments=true")
    metrics_too, all_pictures = evaluate(asked, model, tmp_path / "drawn")

    assert {"validation_loss", "pq/all", "miou"} <= metrics.keys()
    assert metrics_too == pytest.approx(metrics, rel=1e-5)
    assert pictures.keys() == {"example_0", "example_1"}
    assert all_pictures.keys() == {*pictures, "clusters_0", "clusters_1"}
    for name, picture in pictures.items():
        np.testing.assert_array_equal(all_pictures[name], picture)

    explainer = Explainer(model, load())
    for index in range(2):
        expected = explainer(images[index].numpy().astype(np.uint8))
        np.testing.assert_array_equal(all_pictures[f"clusters_{index}"], expected)
    assert not np.array_equal(all_pictures["clusters_0"], all_pictures["clusters_1"])
