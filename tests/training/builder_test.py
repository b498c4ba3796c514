"""An experiment reaches its training step."""

from __future__ import annotations

import pytest

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_training_step
from kmax_tf.training.optimizer import AdamW, without_loss_scaling
from kmax_tf.training.strategy import RuntimeOptions, set_precision
from tests.options import with_defaults
from tests.training.tiny import tiny_experiment

SCALING = keras.mixed_precision.LossScaleOptimizer


@pytest.fixture(scope="module")
def model():
    return kmax_tf.build_model(tiny_experiment())


def test_only_float16_scales_losses(model) -> None:
    for precision, scales in (
        ("FLOAT32", False),
        ("MIXED_BFLOAT16", False),
        ("MIXED_FLOAT16", True),
    ):
        experiment = tiny_experiment(f"runtime.precision={precision}")
        step = build_training_step(experiment, model)
        assert isinstance(step.optimizer, SCALING) == scales
        assert type(without_loss_scaling(step.optimizer)) is AdamW
    assert float(step.optimizer.loss_scale) == 2.0**15


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.legacy.SGD])
def test_other_optimizers_are_wrapped_to_skip_steps(model, kind) -> None:
    step = build_training_step(tiny_experiment(), model, kind())
    assert isinstance(step.optimizer, SCALING)
    assert float(step.optimizer.loss_scale) == 1.0
    again = build_training_step(tiny_experiment(), model, step.optimizer)
    assert again.optimizer is step.optimizer


@pytest.mark.parametrize("precision", ["FLOAT32", "MIXED_BFLOAT16", "MIXED_FLOAT16"])
def test_precision_is_the_policy_of_keras(precision: str) -> None:
    try:
        set_precision(with_defaults(RuntimeOptions, precision=precision))
        assert keras.mixed_precision.global_policy().name == precision.lower()
    finally:
        keras.mixed_precision.set_global_policy("float32")
