"""The learning rate of each step: linear warm-up, then polynomial or cosine decay."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from kmax_tf.keras_api import keras


@dataclasses.dataclass(frozen=True)
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the base rate, then a decay that is evaluated at the absolute step.

    The decay doesn't start anew after the warm-up, so the rate drops a little at its end (as
    published: to 0.970 of the base rate at step 5000 of 150000).

    Attributes:
      base_rate: after the warm-up.
      steps: of the whole run.
      warmup_steps: of these.
      end_rate: after the last step.
    """

    base_rate: float
    steps: int
    warmup_steps: int
    end_rate: float

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
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class WarmupPoly(WarmupSchedule):
    """Decays to (1 - step / steps) ^ power."""

    power: float

    def share(self, left: tf.Tensor) -> tf.Tensor:
        """Returns left ^ power."""
        return left**self.power


@dataclasses.dataclass(frozen=True)
class WarmupCosine(WarmupSchedule):
    """Decays by half a period of a cosine."""

    def share(self, left: tf.Tensor) -> tf.Tensor:
        """Returns 1 when all is left, 0 at the end."""
        return 0.5 * (1.0 - tf.cos(math.pi * left))
