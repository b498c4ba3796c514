"""Training the Keras way: fit, evaluate, predict, callbacks, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.stability import NonFiniteError
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
    model.fit(dataset(3, spoiled=(0, 1)), epochs=1, verbose=0)
    after = weights(model)
    changed = [not np.array_equal(old, new) for old, new in zip(before, after)]
    assert sum(changed) > 100
    assert int(model.optimizer.iterations) == 3
    model.fit(dataset(1, spoiled=(0,)), epochs=1, verbose=0)
    for old, new in zip(after, weights(model)):
        np.testing.assert_array_equal(old, new)


def test_fit_skips_goes_back_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tiny_experiment("training.stability={failures_in_a_row: 2 rollbacks: 1}")
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    history = model.fit(dataset(4, spoiled=(1,)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    # Rectifiers hide the NaN from the loss, but not from the gradient.
    printed = capsys.readouterr().out
    assert "skipped 1 steps in the batches up to 2 of this epoch: gradients that are" in printed
    assert "backbone/stem/conv/kernel" in printed
    good = weights(model)
    with pytest.raises(NonFiniteError, match="after going back 1 times: gradients that"):
        model.fit(dataset(6, spoiled=(2, 3, 4, 5)), verbose=0)
    assert "going back to the weights of the last good epoch" in capsys.readouterr().out
    for old, new in zip(good, weights(model)):
        np.testing.assert_array_equal(old, new)


def test_the_model_holds_averages_whenever_it_is_not_training() -> None:
    experiment = tiny_experiment("training.optimizer.averaging.decay=0.99")
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    kernel = model.heads.class_head.dense.kernel
    seen: dict[str, list[np.ndarray]] = {"batch": [kernel.numpy()], "test": [], "epoch": []}
    keep = {
        "on_train_batch_end": lambda batch, logs: seen["batch"].append(kernel.numpy()),
        "on_test_batch_end": lambda batch, logs: seen["test"].append(kernel.numpy()),
        "on_epoch_end": lambda epoch, logs: seen["epoch"].append(kernel.numpy()),
    }
    callback = keras.callbacks.LambdaCallback(on_epoch_end=keep["on_epoch_end"])
    callback.on_train_batch_end = keep["on_train_batch_end"]
    callback.on_test_batch_end = keep["on_test_batch_end"]
    options = {"validation_data": dataset(1), "verbose": 0, "callbacks": [callback]}
    model.fit(dataset(2), epochs=2, **options)
    model.fit(dataset(2), epochs=1, **options)
    start, *weights = seen["batch"]
    average, expected = start, []
    for step, value in enumerate(weights):
        decay = min(0.99, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        expected.append(average)
    for epoch in range(3):
        for name in ("test", "epoch"):
            np.testing.assert_allclose(
                seen[name][epoch], expected[2 * epoch + 1], rtol=1e-5, atol=1e-7
            )
    np.testing.assert_allclose(kernel, expected[-1], rtol=1e-5, atol=1e-7)


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
