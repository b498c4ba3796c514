"""A term that the package doesn't have: a class, a message, and a line of the builder's table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.losses import builder
from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.term import Term
from kmax_tf.losses.truth import Truth
from tests.extended_protos import extended
from tests.training.tiny import tiny_batch, tiny_experiment

MESSAGE = """
message Sharpness {
  optional float weight = 1 [default = 1.0];
  optional float power = 2 [default = 1.0];
}
"""
FIELD = "  optional Semantic semantic = 4;\n  optional Sharpness sharpness = 7;"


@dataclasses.dataclass(frozen=True)
class Sharpness(Term):
    """The mean entropy of the pixels' softmax over centers, to some power."""

    name = "sharpness"
    power: float

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        probability = tf.nn.softmax(prediction.outputs["mask_logits"])
        entropy = -tf.reduce_sum(probability * tf.math.log(probability + 1e-9), axis=-1)
        return tf.reduce_mean(entropy**self.power, axis=[1, 2])


def test_it_is_trained_and_logged_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(builder.TERMS, "sharpness", (Sharpness,))
    text = "losses { sharpness { weight: 0.5 power: 2 } }"
    experiment = extended(tiny_experiment(), "losses.proto", MESSAGE, FIELD, text)
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    batch = tiny_batch(experiment)
    masks = model(batch[0], training=True)["mask_logits"]
    probability = tf.nn.softmax(masks).numpy()
    entropy = -(probability * np.log(probability + 1e-9)).sum(-1)

    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert history["sharpness"] == [pytest.approx(0.5 * (entropy**2).mean(), rel=1e-4)]
    assert history["block1/sharpness"][0] > 0
    terms = [name for name in history if name != "loss"]
    assert sum(history[name][0] for name in terms) == pytest.approx(history["loss"][0], rel=1e-5)
