"""What fit does besides training: failed steps, going back, averages; with a KMaX of stubs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNorm
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.fit_callback import FitCallback
from kmax_tf.training.keras_fit import StepFitting
from kmax_tf.training.stability import NonFiniteError, Patience
from kmax_tf.training.step import StepOptions, TrainingStep
from tests.options import with_defaults
from tests.training.small import adamw


class Backbone(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="backbone")
        self.dense = keras.layers.Dense(4, name="dense")

    def call(self, x, training=None):
        return {32: self.dense(tf.reduce_mean(x, [1, 2]))}


class Decoder(keras.layers.Layer):
    def call(self, features, training=None):
        return features[32], features[32], []


class Heads(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="heads")
        self.norm = BatchNorm(name="norm")

    def call(self, pixels, class_embeddings, mask_embeddings, training=None):
        return {"class_logits": self.norm(class_embeddings, training=training)}


class PixelDecoder(keras.layers.Layer):
    def call(self, features, training=None):
        return {32: features[32]}


def loss(targets, predictions):
    return {"class": tf.reduce_mean((predictions["class_logits"] - targets["y"]) ** 2)}


def model(patience: Patience, **rules: float) -> KMaX:
    built = KMaX(Backbone(), PixelDecoder(), Decoder(), Heads())
    step = TrainingStep(built, loss, ["class"], adamw(0.1, **rules), with_defaults(StepOptions))
    built.fitting = StepFitting(step, FitCallback(step, patience))
    built.compile(optimizer=step.optimizer)
    return built


def dataset(count: int, spoiled: tuple[int, ...] = ()) -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, [count, 4, 33, 33, 3]).astype(np.float32)
    images[list(spoiled)] = np.nan
    y = rng.normal(size=[count, 4, 4]).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((images, {"y": y}))


def weights(trained: KMaX) -> list[np.ndarray]:
    parts = trained.checkpoint_items.values()
    return [variable.numpy() for part in parts for variable in part.variables]


def test_failed_steps_are_skipped_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    trained = model(Patience(2, 1))
    history = trained.fit(dataset(4, spoiled=(1,)), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    printed = capsys.readouterr().out
    assert "\nbatch 2 of this epoch: skipped 1 of the last steps (1 in all): loss terms" in printed
    assert "class (1)" in printed
    assert "going back" not in printed
    assert all(np.isfinite(value).all() for value in weights(trained))
    assert int(trained.optimizer.iterations) == 8


def test_fit_goes_back_to_the_last_good_epoch_and_then_stops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = model(Patience(2, 1))
    trained.fit(dataset(3), verbose=0)
    good = weights(trained)
    # One step changes the weights; then two fail, and again two.
    with pytest.raises(NonFiniteError, match="after going back 1 time: loss terms"):
        trained.fit(dataset(6, spoiled=(2, 3, 4, 5)), verbose=0)
    assert "going back to the weights of the last good epoch" in capsys.readouterr().out
    for old, new in zip(good, weights(trained)):
        np.testing.assert_array_equal(old, new)


def test_the_model_holds_averages_whenever_it_is_not_training() -> None:
    trained = model(Patience(10, 1), average_decay=0.99)
    kernel = trained.backbone.dense.kernel
    seen: dict[str, list[np.ndarray]] = {"batch": [], "test": [], "epoch": []}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["batch"].append(kernel.numpy())

        def on_test_batch_end(self, batch, logs=None):
            seen["test"].append(kernel.numpy())

        def on_epoch_end(self, epoch, logs=None):
            seen["epoch"].append(kernel.numpy())

    average = kernel.numpy()
    plateau = keras.callbacks.ReduceLROnPlateau("loss")  # sets a rate that no schedule sets
    options = {"validation_data": dataset(1), "verbose": 0, "callbacks": [Watch(), plateau]}
    trained.fit(dataset(2), epochs=2, **options)
    trained.fit(dataset(2), epochs=1, **options)
    expected = []
    for step, value in enumerate(seen["batch"]):
        decay = min(0.99, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        expected.append(average)
    assert len(expected) == 6
    for epoch in range(3):
        for name in ("test", "epoch"):
            found = seen[name][epoch]
            np.testing.assert_allclose(found, expected[2 * epoch + 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernel, expected[-1], rtol=1e-5, atol=1e-6)
