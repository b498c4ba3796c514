"""From an experiment and its model to the training step."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.losses.builder import build_loss
from kmax_tf.model.kmax import KMaX
from kmax_tf.protos import experiment_pb2, training_pb2
from kmax_tf.training.optimizer import build_optimizer
from kmax_tf.training.step import StepOptions, TrainingStep


def build_training_step(
    experiment: experiment_pb2.Experiment,
    model: KMaX,
    optimizer: Optional[keras.optimizers.Optimizer] = None,
    jit_compile: Optional[bool] = None,
) -> TrainingStep:
    """Builds the training step of an experiment, under the model's distribution strategy.

    Args:
      experiment: the resolved experiment.
      model: what it trains.
      optimizer: in place of the experiment's.
      jit_compile: in place of the experiment's.
    """
    runtime = experiment.runtime
    options = experiment.training.optimizer
    loss = build_loss(experiment)
    optimizer = optimizer or build_optimizer(experiment, model)
    if runtime.precision == training_pb2.MIXED_FLOAT16:
        optimizer = with_loss_scale(optimizer)
    elif not hasattr(optimizer, "apply_gradients_if"):
        optimizer = with_skipping(optimizer)
    return TrainingStep(
        model,
        loss,
        loss.term_names(model.output),
        optimizer,
        StepOptions(
            options.clip_norm,
            options.micro_batches,
            runtime.jit_compile if jit_compile is None else jit_compile,
        ),
    )


def with_loss_scale(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Scales losses so that gradients don't vanish in float16."""
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return optimizer
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


def with_skipping(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Makes an optimizer of another make skip steps that aren't finite: by a loss scale of 1.

    TPUs have no loss scaling; there such an optimizer isn't protected.
    """
    on_tpu = isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
    if on_tpu or isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return optimizer
    never = 2**31 - 1
    return keras.mixed_precision.LossScaleOptimizer(
        optimizer, initial_scale=1, dynamic_growth_steps=never
    )
