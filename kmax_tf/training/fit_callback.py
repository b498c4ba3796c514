"""What `fit` does besides training: it averages weights, and goes back when steps fail."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.stability import Patience
from kmax_tf.training.step import TrainingStep


class FitCallback(keras.callbacks.Callback):
    """Puts averaged weights into the model and takes them out, and watches for failed steps.

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
        self.step.begin()
        self.step.hold_averages(False)
        self._keep_state()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Takes the averages out."""
        self.step.hold_averages(False)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Deals with the failures of the last steps, every few steps."""
        if (batch + 1) % self.patience.failures_in_a_row == 0:
            self._go_back_if_needed(f"batch {batch + 1} of this epoch")

    def on_test_begin(self, logs: Any = None) -> None:
        """Evaluates the averages."""
        self.step.hold_averages(True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps the state, if it is good, and shows the averages to the callbacks that follow."""
        self.step.hold_averages(False)
        self._go_back_if_needed(f"the end of epoch {epoch + 1}")
        if not self.step.failures.last_step_failed():
            self._keep_state()
        self.step.hold_averages(True)

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the averages in the model."""
        self.step.hold_averages(True)

    def _go_back_if_needed(self, where: str) -> None:
        def say(line: str) -> None:
            print(f"\n{line}")  # the line that Keras keeps writing over isn't ended

        target = "the weights of the last good epoch"
        if self.patience.must_go_back(self.step.failures, where, target, say):
            for variable, value in self.good_state:
                variable.assign(value)

    def _keep_state(self) -> None:
        """Copies weights and the optimizer's state to the host."""
        optimizer = self.step.optimizer
        state = optimizer.variables() if callable(optimizer.variables) else optimizer.variables
        parts = self.model.checkpoint_items.values()
        weights = [variable for part in parts for variable in part.variables]
        self.good_state = [(variable, variable.numpy()) for variable in [*weights, *state]]
