"""AdamW with a rate per sub-model, the published schedule, and clipping over all replicas."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Optional

import tensorflow as tf
from official.modeling.optimization import legacy_adamw

from kmax_tf.keras_api import keras
from kmax_tf.protos import training_pb2

_REPLICA = re.compile(r"/replica_\d+")


class WarmupPoly(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the base rate, then polynomial decay at the absolute step.

    The decay doesn't start anew after the warm-up, so the rate drops a little at its end (as
    published: to 0.970 of the base rate at step 5000 of 150000).
    """

    def __init__(
        self, base_rate: float, steps: int, warmup_steps: int, power: float, end_rate: float
    ):
        self.base_rate = base_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.end_rate = end_rate

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate at a step."""
        step = tf.cast(step, tf.float32)
        left = 1.0 - tf.minimum(step / self.steps, 1.0)
        rate = (self.base_rate - self.end_rate) * left**self.power + self.end_rate
        if not self.warmup_steps:
            return rate
        return tf.where(step < self.warmup_steps, self.base_rate * step / self.warmup_steps, rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "base_rate": self.base_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "end_rate": self.end_rate,
        }


class AdamW(legacy_adamw.AdamWeightDecay):
    """Adam with decoupled weight decay of kernels, and a slower rate for some variables.

    Kernels decay by rate * weight_decay before Adam's update; biases, normalizations, position
    tables and cluster centers don't. Gradients are summed over replicas before they are clipped.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float,
        slow_variables: Iterable[tf.Variable] = (),
        slow_multiplier: float = 1.0,
        clip_norm: float = 0.0,
        **adam: Any,
    ):
        """Makes the optimizer.

        Args:
          learning_rate: rate or schedule.
          weight_decay: relative to the rate.
          slow_variables: those (of the backbone) that learn at rate * slow_multiplier.
          slow_multiplier: see there.
          clip_norm: largest global norm of all gradients; 0: no clipping.
          **adam: beta_1, beta_2, epsilon.
        """
        super().__init__(
            learning_rate=learning_rate,
            weight_decay_rate=weight_decay,
            include_in_weight_decay=[r"kernel(/replica_\d+)?:0$"],
            exclude_from_weight_decay=[r".*"],
            gradient_clip_norm=0.0,
            name="AdamW",
            **adam,
        )
        self.slow_names = frozenset(variable.name for variable in slow_variables)
        self.slow_multiplier = slow_multiplier
        self.global_clip_norm = clip_norm

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Optional[tf.Tensor], tf.Variable]],
        name: Optional[str] = None,
        experimental_aggregate_gradients: bool = True,
    ) -> Any:
        """Sums gradients over replicas, clips them by their global norm, and applies them.

        Gradients of position tables come as slices in which a row occurs many times; they are made
        dense, as the norm of the slices isn't that of their sum.
        """
        pairs = [
            (tf.convert_to_tensor(grad), variable)
            for grad, variable in grads_and_vars
            if grad is not None
        ]
        gradients, variables = [list(part) for part in zip(*pairs)]
        context = tf.distribute.get_replica_context()
        if experimental_aggregate_gradients and context is not None:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.global_clip_norm > 0.0:
            gradients, _ = tf.clip_by_global_norm(gradients, self.global_clip_norm)
        return super().apply_gradients(
            zip(gradients, variables), name=name, experimental_aggregate_gradients=False
        )

    def _resource_apply_dense(
        self, grad: tf.Tensor, var: tf.Variable, apply_state: Optional[dict[Any, Any]] = None
    ) -> tf.Operation:
        if apply_state and _REPLICA.sub("", var.name) in self.slow_names:
            apply_state = {
                key: {
                    **coefficients,
                    "lr_t": coefficients["lr_t"] * self.slow_multiplier,
                    "lr": coefficients["lr"] * self.slow_multiplier,
                }
                for key, coefficients in apply_state.items()
            }
        return super()._resource_apply_dense(grad, var, apply_state=apply_state)

    def get_config(self) -> dict[str, Any]:
        """Returns Adam's settings and ours."""
        return {
            **super().get_config(),
            "slow_multiplier": self.slow_multiplier,
            "clip_norm": self.global_clip_norm,
        }


def build_optimizer(
    training: training_pb2.Training, slow_variables: Iterable[tf.Variable]
) -> AdamW:
    """Builds the optimizer of an experiment; `slow_variables` are the backbone's."""
    options = training.optimizer
    adamw = options.adamw
    schedule = WarmupPoly(
        options.learning_rate,
        training.steps,
        options.warmup_steps,
        options.poly_power,
        options.end_learning_rate,
    )
    return AdamW(
        schedule,
        adamw.weight_decay,
        slow_variables=slow_variables,
        slow_multiplier=options.backbone_multiplier,
        clip_norm=options.clip_norm,
        beta_1=adamw.beta_1,
        beta_2=adamw.beta_2,
        epsilon=adamw.epsilon,
    )
