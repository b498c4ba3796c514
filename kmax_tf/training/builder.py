"""From an experiment and its model to the optimizer and the training step."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow as tf

from kmax_tf.config import options_of
from kmax_tf.keras_api import keras
from kmax_tf.losses.builder import build_loss
from kmax_tf.model.kmax import KMaX
from kmax_tf.protos import experiment_pb2, training_pb2
from kmax_tf.training.groups import DecayedVariables, GroupOptions, build_groups
from kmax_tf.training.optimizer import (
    LAMB,
    SGDW,
    AdamW,
    GroupedOptimizer,
    Lookahead,
    Rules,
    rectified_adam,
)
from kmax_tf.training.schedule import WarmupCosine, WarmupPoly, WarmupSchedule
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
    loss = build_loss(experiment)
    optimizer = optimizer or build_optimizer(experiment, model)
    if runtime.precision == training_pb2.MIXED_FLOAT16:
        optimizer = with_loss_scale(optimizer)
    elif not hasattr(optimizer, "apply_gradients_if"):
        optimizer = with_skipping(optimizer)
    given = {} if jit_compile is None else {"jit_compile": jit_compile}
    return TrainingStep(
        model,
        loss,
        loss.term_names(model.output),
        optimizer,
        options_of(StepOptions, experiment.training.optimizer, runtime, **given),
    )


def build_optimizer(experiment: experiment_pb2.Experiment, model: KMaX) -> GroupedOptimizer:
    """Builds the optimizer of an experiment.

    Args:
      experiment: the resolved experiment.
      model: whose variables it will train, built under the same distribution strategy.

    Raises:
      UserError: the algorithm isn't there on this Python.
    """
    options = experiment.training.optimizer
    name = options.WhichOneof("algorithm")
    algorithm = getattr(options, name)
    rules = Rules(
        groups=build_groups(group_options(options), model),
        # LAMB's decay is inside.
        weight_decay=0.0 if name == "lamb" else algorithm.weight_decay,
        averaging=options.averaging.decay if options.HasField("averaging") else None,
        lookahead=(
            options_of(Lookahead, options.lookahead) if options.HasField("lookahead") else None
        ),
    )
    settings: dict[str, Any] = {"learning_rate": build_schedule(experiment)}
    if name == "sgd":
        return SGDW(rules, momentum=algorithm.momentum, nesterov=algorithm.nesterov, **settings)
    settings.update((key, getattr(algorithm, key)) for key in ("beta_1", "beta_2", "epsilon"))
    if name == "lamb":
        return LAMB(rules, weight_decay_rate=algorithm.weight_decay, **settings)
    if name == "rectified_adam":
        return rectified_adam()(rules, **settings)
    return AdamW(rules, name="AdamW", **settings)


def group_options(options: training_pb2.Optimizer) -> GroupOptions:
    """Returns which variables learn at which rate, and which decay."""
    return options_of(GroupOptions, options, decayed=options_of(DecayedVariables, options.decayed))


def base_rate(experiment: experiment_pb2.Experiment) -> float:
    """Returns the rate that the schedule starts from: as given, or scaled with the batch."""
    options = experiment.training.optimizer
    if not options.reference_batch_size:
        return options.learning_rate
    batch_size = experiment.train_data.batch_size
    return options.learning_rate * batch_size / options.reference_batch_size


def build_schedule(experiment: experiment_pb2.Experiment) -> WarmupSchedule:
    """Builds the schedule of an experiment."""
    training, options = experiment.training, experiment.training.optimizer
    common = (
        base_rate(experiment),
        training.steps,
        options.warmup_steps,
        options.end_learning_rate,
    )
    if options.WhichOneof("schedule") == "cosine":
        return WarmupCosine(*common)
    return WarmupPoly(*common, options.poly.power)


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer, **options: Any
) -> keras.optimizers.Optimizer:
    """Scales losses, so that gradients don't vanish in float16, unless the optimizer does."""
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return optimizer
    return keras.mixed_precision.LossScaleOptimizer(optimizer, **options)


def with_skipping(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Makes an optimizer of another make skip steps that aren't finite: by a loss scale of 1.

    TPUs have no loss scaling; there such an optimizer isn't protected.
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return optimizer
    never = 2**31 - 1
    return with_loss_scale(optimizer, initial_scale=1, dynamic_growth_steps=never)
