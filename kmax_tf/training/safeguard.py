"""What `fit` does besides training: it averages weights, and goes back when steps fail."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.optimizer import GroupedOptimizer, without_loss_scaling
from kmax_tf.training.stability import Patience
from kmax_tf.training.step import TrainingStep
from kmax_tf.wording import count_of


class Safeguard(keras.callbacks.Callback):
    """Swaps averaged weights in and out, and looks after failed steps.

    When so many steps in a row have failed, the weights and the optimizer go back to where the last
    good epoch ended; when they have often enough, `fit` ends with a `NonFiniteError`.
    """

    _supports_tf_logs = True  # Keras then doesn't fetch every step's values for it

    def __init__(self, step: TrainingStep, patience: Patience):
        super().__init__()
        self.step = step
        self.patience = patience
        self.good_state: list[tuple[tf.Variable, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts from the weights that are trained, which count as good."""
        if self.averaging is not None:
            self.averaging.begin(self.model.trainable_variables)
        self._hold_averages(False)
        self._keep_state()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Takes the averages out."""
        self._hold_averages(False)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the failures of the last steps, every few steps."""
        if (batch + 1) % self.patience.failures_in_a_row == 0:
            self._look(f"the batches up to {batch + 1} of this epoch")

    def on_test_begin(self, logs: Any = None) -> None:
        """Evaluates the averages."""
        self._hold_averages(True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps the state, if it is good, and shows the averages to the callbacks behind."""
        self._hold_averages(False)
        self._look(f"epoch {epoch + 1}")
        if not self.step.health.failing():
            self._keep_state()
        self._hold_averages(True)

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the averages in the model."""
        self._hold_averages(True)

    @property
    def averaging(self) -> Optional[GroupedOptimizer]:
        """Returns the optimizer if it is one of ours."""
        optimizer = without_loss_scaling(self.step.optimizer)
        return optimizer if isinstance(optimizer, GroupedOptimizer) else None

    def _hold_averages(self, averages: bool) -> None:
        if self.averaging is not None:
            self.averaging.hold_averages(self.model.trainable_variables, averages)

    def _look(self, where: str) -> None:
        failures = self.step.health.look()
        if failures.steps:
            print(f"\nskipped {count_of(failures.steps, 'step')} in {where}: {failures.sentence()}")
        if self.patience.is_over(failures, where):
            print("going back to the weights of the last good epoch")
            for variable, value in self.good_state:
                variable.assign(value)
            self.step.health.forget_streak()

    def _keep_state(self) -> None:
        """Copies weights and the optimizer's state to the host."""
        optimizer = self.step.optimizer
        state = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
        parts = self.model.checkpoint_items.values()
        weights = [variable for part in parts for variable in part.variables]
        self.good_state = [(variable, variable.numpy()) for variable in [*weights, *state]]
