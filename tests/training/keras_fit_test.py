"""Training the Keras way: fit, evaluate, predict, callbacks, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.model.kmax import KMaX
from tests.training.tiny import tiny_batch, tiny_experiment


def dataset(count: int = 4, spoiled: tuple[int, ...] = ()) -> tf.data.Dataset:
    """Returns one batch several times, in some of them with an image that isn't a number."""
    images, targets = tiny_batch(tiny_experiment())
    factors = tf.constant([[np.nan if i in spoiled else 1.0] for i in range(count)], tf.float32)
    return tf.data.Dataset.from_tensor_slices(factors).map(lambda x: (images * x, targets))


def weights(model: KMaX) -> list[np.ndarray]:
    parts = model.checkpoint_items.values()
    return [variable.numpy() for part in parts for variable in part.variables]


def test_fit_lowers_the_loss_and_reports_every_term() -> None:
    keras.utils.set_random_seed(0)
    experiment = tiny_experiment()
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    history = model.fit(dataset(), epochs=5, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert {"loss", "pq_mask", "block1/pq_class", "semantic"} <= history.keys()
    terms = [name for name in history if name != "loss"]
    assert sum(history[name][0] for name in terms) == pytest.approx(history["loss"][0], rel=1e-5)
    result = model.evaluate(dataset(), verbose=0, return_dict=True)
    assert np.isfinite(list(result.values())).all()


def test_any_keras_optimizer_will_do_and_skips_what_is_not_finite() -> None:
    experiment = tiny_experiment("training.optimizer.clip_norm=1")
    model = kmax_tf.build_model(experiment)
    kmax_tf.compile_for_training(model, experiment, optimizer=keras.optimizers.Adam(1e-4))
    before = weights(model)
    model.fit(dataset(1, spoiled=(0,)), epochs=1, verbose=0)
    for old, new in zip(before, weights(model)):
        np.testing.assert_array_equal(old, new)
    model.fit(dataset(1), epochs=1, verbose=0)
    assert not np.array_equal(before[0], weights(model)[0])
    assert int(model.optimizer.iterations) == 2


def test_a_saved_model_predicts_the_same_after_loading(tmp_path: Path) -> None:
    experiment = tiny_experiment()
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    path = tmp_path / "model.keras"
    model.fit(dataset(), verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(str(path))])
    images, _ = tiny_batch(experiment)
    expected = model.predict(images, verbose=0)
    loaded = keras.models.load_model(path)
    found = loaded.predict(images, verbose=0)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])
    kmax_tf.compile_for_training(loaded, experiment).fit(dataset(1), verbose=0)


def test_predictions_merge_into_maps() -> None:
    experiment = tiny_experiment()
    images, _ = tiny_batch(experiment)
    maps = kmax_tf.postprocess(experiment, kmax_tf.build_model(experiment)(images))
    assert maps["panoptic"].shape == (2, 65, 65)
    assert maps["panoptic"].dtype == tf.int32


def test_fit_without_the_loss_says_what_to_do() -> None:
    model = kmax_tf.build_model(tiny_experiment())
    model.compile("adam")
    with pytest.raises(kmax_tf.UserError, match="compile_for_training"):
        model.fit(dataset(), verbose=0)
