"""Training the Keras way: fit, evaluate, predict, callbacks, saving and loading.

One model is fitted and one is loaded; the tests share them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.model.kmax import KMaX
from tests.training.tiny import tiny_batch, tiny_experiment


def dataset(count: int = 4) -> tf.data.Dataset:
    """Returns one batch several times."""
    return tf.data.Dataset.from_tensors(tiny_batch(tiny_experiment())).repeat(count)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A model, what its fit returned, the folder that callbacks wrote to, and predictions."""

    model: KMaX
    history: dict[str, list[float]]
    folder: Path
    predictions: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("fit")
    experiment = tiny_experiment()
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    callbacks = keras.callbacks
    history = model.fit(
        dataset(),
        epochs=5,
        verbose=0,
        callbacks=[
            callbacks.ModelCheckpoint(str(folder / "model.keras")),
            callbacks.ModelCheckpoint(str(folder / "weights-{epoch}"), save_weights_only=True),
            callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
            callbacks.CSVLogger(str(folder / "log.csv")),
            callbacks.TensorBoard(str(folder / "board")),
            callbacks.BackupAndRestore(str(folder / "backup")),
            callbacks.TerminateOnNaN(),
        ],
    ).history
    images, _ = tiny_batch(experiment)
    return Fitted(model, history, folder, model.predict(images, verbose=0))


@pytest.fixture(scope="module")
def loaded(fitted: Fitted) -> KMaX:
    return keras.models.load_model(fitted.folder / "model.keras")


def test_fit_lowers_the_loss_and_reports_every_term(fitted: Fitted) -> None:
    history = fitted.history
    assert history["loss"][-1] < history["loss"][0]
    assert {"loss", "pq_mask", "block1/pq_class", "semantic"} <= history.keys()
    terms = [name for name in history if name != "loss"]
    assert sum(history[name][0] for name in terms) == pytest.approx(history["loss"][0], rel=1e-5)
    result = fitted.model.evaluate(dataset(), verbose=0, return_dict=True)
    assert np.isfinite(list(result.values())).all()


def test_callbacks_write_their_files(fitted: Fitted) -> None:
    lines = (fitted.folder / "log.csv").read_text().splitlines()
    assert len(lines) == 6
    assert list((fitted.folder / "board").rglob("events*"))
    assert (fitted.folder / "weights-5.index").exists()


def test_a_saved_model_predicts_the_same_after_loading(fitted: Fitted, loaded: KMaX) -> None:
    images, _ = tiny_batch(tiny_experiment())
    loaded.load_weights(fitted.folder / "model.keras")
    found = loaded.predict(images, verbose=0)
    assert fitted.predictions.keys() == found.keys()
    for name, values in fitted.predictions.items():
        np.testing.assert_array_equal(values, found[name])


@pytest.mark.parametrize("name", ["checkpoint", "all.weights.h5", "all.h5"])
def test_weights_survive_each_format(
    fitted: Fitted, loaded: KMaX, tmp_path: Path, name: str
) -> None:
    for variable in loaded.variables:
        variable.assign(tf.zeros_like(variable))
    fitted.model.save_weights(str(tmp_path / name))
    loaded.load_weights(str(tmp_path / name))
    for found, expected in zip(loaded.variables, fitted.model.variables):
        np.testing.assert_array_equal(found, expected, err_msg=expected.name)


def test_a_format_that_cannot_be_loaded_again_is_refused_with_what_to_use(
    fitted: Fitted, tmp_path: Path
) -> None:
    folder = str(tmp_path / "folder")
    for save in (
        lambda: fitted.model.save(folder),
        lambda: fitted.model.save(folder, save_format="tf"),
        lambda: fitted.model.save(folder + ".h5"),
        lambda: keras.models.save_model(fitted.model, folder),
        lambda: tf.saved_model.save(fitted.model, folder),
        lambda: fitted.model.fit(dataset(1), callbacks=[keras.callbacks.ModelCheckpoint(folder)]),
    ):
        with pytest.raises(kmax_tf.UserError, match="export_saved_model"):
            save()


@pytest.mark.parametrize(
    "callback",
    [
        lambda: keras.callbacks.ReduceLROnPlateau("loss"),
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
    ],
)
def test_two_that_would_set_the_rate_are_an_error(fitted: Fitted, callback) -> None:
    with pytest.raises(kmax_tf.UserError, match="schedule does already"):
        fitted.model.fit(dataset(1), verbose=0, callbacks=callback())


def test_fit_without_the_loss_says_what_to_do(loaded: KMaX) -> None:
    loaded.compile(keras.optimizers.legacy.Adam())
    with pytest.raises(kmax_tf.UserError, match="compile_for_training"):
        loaded.fit(dataset(), verbose=0)
