"""A model of a few weights that trains as KMaX does, for tests of the training step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNorm
from kmax_tf.training.groups import VariableGroups
from kmax_tf.training.optimizer import AdamW, GroupedOptimizer, Lookahead, Rules
from kmax_tf.training.step import StepOptions, TrainingStep
from tests.options import with_defaults

TERMS = ["near", "far"]


def small_model(normalized: bool = True) -> keras.Model:
    """Returns a model of [B, 3] -> [B, 2]; a normalization makes it depend on the batch."""
    layers = [keras.layers.Dense(4, activation="gelu", name="first")]
    if normalized:
        layers.append(BatchNorm(name="norm"))
    model = keras.Sequential([*layers, keras.layers.Dense(2, name="last")])
    model.build([None, 3])
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def loss(targets: dict[str, tf.Tensor], predictions: tf.Tensor) -> dict[str, tf.Tensor]:
    predictions = tf.cast(predictions, tf.float32)
    return {
        "near": tf.reduce_mean((predictions - targets["y"]) ** 2),
        "far": tf.reduce_mean(tf.abs(predictions + targets["y"])),
    }


def adamw(rate: float = 0.01, **rules: float) -> GroupedOptimizer:
    groups = VariableGroups({}, frozenset({"first/kernel:0", "last/kernel:0"}))
    return AdamW(make_rules(groups, 0.05, **rules), learning_rate=rate, epsilon=1e-3)


def make_rules(
    groups: VariableGroups,
    weight_decay: float,
    average_decay: float = 0.0,
    lookahead_period: int = 0,
    lookahead_share: float = 0.5,
) -> Rules:
    """Returns rules; 0: there are no averages, no slow weights."""
    lookahead = Lookahead(lookahead_period, lookahead_share) if lookahead_period else None
    return Rules(groups, weight_decay, average_decay or None, lookahead)


def small_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, **options: object
) -> TrainingStep:
    return TrainingStep(model, loss, TERMS, optimizer, with_defaults(StepOptions, **options))


def batch(seed: int = 0, size: int = 8) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=[size, 3]).astype(np.float32)
    return x, {"y": rng.normal(size=[size, 2]).astype(np.float32)}


def state(step: TrainingStep) -> dict[str, np.ndarray]:
    """Returns weights, statistics and all state of the optimizer but its count."""
    optimizer = getattr(step.optimizer, "inner_optimizer", step.optimizer)
    slots = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
    counts = ("iter:0", "iteration:0", "learning_rate:0")
    return {
        f"{i} {v.name}": v.numpy()
        for i, v in enumerate([*step.model.variables, *slots])
        if not v.name.endswith(counts)
    }
