"""The learning rate of each step: linear warm-up, then polynomial or cosine decay."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from kmax_tf.keras_api import keras


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the base rate, then a decay that is evaluated at the absolute step.

    The decay doesn't start anew after the warm-up, so the rate drops a little at its end (as
    published: to 0.970 of the base rate at step 5000 of 150000).
    """

    def __init__(self, base_rate: float, steps: int, warmup_steps: int, end_rate: float):
        self.base_rate = base_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.end_rate = end_rate

    def share(self, left: tf.Tensor) -> tf.Tensor:
        """Returns the decayed share of the rate when a share of the steps is left."""
        raise NotImplementedError

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate at a step."""
        step = tf.cast(step, tf.float32)
        left = 1.0 - tf.minimum(step / self.steps, 1.0)
        rate = (self.base_rate - self.end_rate) * self.share(left) + self.end_rate
        if not self.warmup_steps:
            return rate
        return tf.where(step < self.warmup_steps, self.base_rate * step / self.warmup_steps, rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "base_rate": self.base_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "end_rate": self.end_rate,
        }


class WarmupPoly(WarmupSchedule):
    """Decays to (1 - step / steps) ^ power."""

    def __init__(
        self, base_rate: float, steps: int, warmup_steps: int, power: float, end_rate: float
    ):
        super().__init__(base_rate, steps, warmup_steps, end_rate)
        self.power = power

    def share(self, left: tf.Tensor) -> tf.Tensor:
        """Returns left ^ power."""
        return left**self.power

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "power": self.power}


class WarmupCosine(WarmupSchedule):
    """Decays by half a period of a cosine."""

    def share(self, left: tf.Tensor) -> tf.Tensor:
        """Returns 1 when all is left, 0 at the end."""
        return 0.5 * (1.0 - tf.cos(math.pi * left))


@dataclasses.dataclass(frozen=True)
class BaseRate:
    """The rate that a schedule starts from, and where it comes from.

    Attributes:
      value: the rate.
      explanation: a line for people.
    """

    value: float
    explanation: str


def base_rate(learning_rate: float, batch_size: int, reference_batch_size: int) -> BaseRate:
    """Returns the rate of a batch size: as given, or scaled from a reference where that isn't 0."""
    if not reference_batch_size:
        return BaseRate(
            learning_rate,
            f"learning rate {learning_rate:g}, as given, for batches of {batch_size}",
        )
    scaled = learning_rate * batch_size / reference_batch_size
    return BaseRate(
        scaled,
        f"learning rate {scaled:g} = {learning_rate:g} x {batch_size} / {reference_batch_size}: "
        "scaled from the reference batch to this one",
    )
