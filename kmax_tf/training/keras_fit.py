"""Training the Keras way: compile, then fit, evaluate, predict."""

from __future__ import annotations

from typing import Any

from kmax_tf.config import Experiment, options_of
from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras
from kmax_tf.losses.kmax_loss import total_loss
from kmax_tf.model.keras_model import Values, is_keras_file, no_loss, other_format
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.builder import build_training_step
from kmax_tf.training.fit_callback import FitCallback
from kmax_tf.training.stability import Patience
from kmax_tf.training.step import TrainingStep


def compile_for_training(
    model: KMaX,
    experiment: Experiment,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    jit_compile: bool = False,
) -> KMaX:
    """Compiles a model with the loss and the optimizer of its experiment.

    Args:
      model: as `kmax_tf.build_model` returns it, built under the same distribution strategy.
      experiment: as `kmax_tf.load_experiment` returns it.
      optimizer: in place of the experiment's; a name or any Keras optimizer.
      jit_compile: compile the step with XLA, which pays on GPU and TPU only.

    Returns:
      The same model. `fit` and `evaluate` take datasets of (images, `structures.Targets`), such as
      `kmax_tf.build_dataset` makes, and report each loss term; `predict` gives `Predictions`.
      Steps whose loss or gradient isn't finite are skipped; `fit` raises a UserError when they
      don't stop. Where the experiment averages weights, the model holds the averages whenever
      `fit` isn't training: in evaluations, in callbacks at the end of an epoch, and afterwards.
    """
    if isinstance(optimizer, str):
        optimizer = keras.optimizers.get(optimizer)
    step = build_training_step(experiment, model, optimizer, jit_compile)
    patience = options_of(Patience, experiment.training.stability)
    model.fitting = StepFitting(step, FitCallback(step, patience))
    # The step compiles itself.
    model.compile(optimizer=step.optimizer, jit_compile=False)
    return model


class StepFitting:
    """Fits a model by a training step, and reports the mean of each term of the loss.

    Attributes:
      step: of the model.
      first_callback: what `fit` calls before all others.
      metrics: the means.
    """

    def __init__(self, step: TrainingStep, first_callback: keras.callbacks.Callback):
        self.step = step
        self.first_callback = first_callback
        self.metrics = [keras.metrics.Mean(name=name) for name in (*step.term_names, "loss")]

    def callbacks(self, given: Any) -> list[keras.callbacks.Callback]:
        """Returns all callbacks of a `fit`.

        Args:
          given: a callback, a list of them, or None.

        Raises:
          UserError: one of them would fail in the midst of training.
        """
        others = given if isinstance(given, (list, tuple)) else [given]
        others = [callback for callback in others if callback is not None]
        for callback in others:
            _check_callback(callback, self.step.optimizer)
        return [self.first_callback, *others]

    def train_step(self, data: Any) -> Values:
        """Trains with a batch (images, targets)."""
        return self._means(self.step(*_images_and_targets(data)))

    def test_step(self, data: Any) -> Values:
        """Measures the loss of a batch, of the final predictions only."""
        images, targets = _images_and_targets(data)
        terms = self.step.loss(targets, self.step.model(images, training=False))
        return self._means({**terms, "loss": total_loss(terms)})

    def _means(self, values: Values) -> Values:
        """Adds the values of a step to the means; returns the means of the terms that it has."""
        reported = [metric for metric in self.metrics if metric.name in values]
        for metric in reported:
            metric.update_state(values[metric.name])
        return {metric.name: metric.result() for metric in reported}


def _images_and_targets(data: Any) -> tuple[Any, Any]:
    if not isinstance(data, tuple) or len(data) < 2:
        raise no_loss()
    return data[0], data[1]


def _check_callback(callback: keras.callbacks.Callback, optimizer: Any) -> None:
    """Checks, before training, what would fail in the midst of it.

    Raises:
      UserError: a callback saves in another format, or sets a rate that a schedule sets.
    """
    callbacks = keras.callbacks
    whole = isinstance(callback, callbacks.ModelCheckpoint) and not callback.save_weights_only
    if whole and not is_keras_file(callback.filepath):
        raise other_format(f"ModelCheckpoint({callback.filepath!r})")
    if isinstance(callback, (callbacks.ReduceLROnPlateau, callbacks.LearningRateScheduler)):
        rate = getattr(optimizer, "learning_rate", None)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise UserError(
                f"{type(callback).__name__} sets the learning rate, which the experiment's "
                "schedule does already: leave the callback out, or give compile_for_training an "
                "optimizer with a constant rate, such as optimizer=keras.optimizers.Adam(1e-4)"
            )
