"""tf-models-official's trainer and runner, with averaged weights, good checkpoints and recovery."""

from __future__ import annotations

import os
from typing import Any, Callable, Optional

import orbit
import tensorflow as tf
from official.core import actions, base_trainer, train_lib, train_utils

from kmax_tf.checkpoints.folders import FolderCheckpointManager, latest_checkpoint
from kmax_tf.files.writing import plain_path
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.optimizer import GroupedOptimizer, without_loss_scaling
from kmax_tf.training.run_progress import RunProgress, Say
from kmax_tf.training.stability import Failures, Patience
from kmax_tf.training.step import TrainingStep
from kmax_tf.wording import count_of


class Trainer(base_trainer.Trainer):
    """Evaluates, and exports the best checkpoint, with averaged weights where there are any.

    Attributes:
      progress: is told of every step, but on TPUs, which run a whole loop by themselves.
    """

    def __init__(self, *args: Any, progress: RunProgress, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.progress = progress

    def train_loop_end(self) -> dict[str, Any]:
        """Ends a loop: returns its results, and tells of them."""
        logs = super().train_loop_end()
        self.progress.end_loop(logs, int(self.global_step.numpy()))
        return logs

    def create_train_loop_fn(self) -> Callable[[Any, tf.Tensor], None]:
        """Returns a loop in Python: one in the graph takes longer to make and tells nothing."""
        if isinstance(self.strategy, tf.distribute.TPUStrategy):
            return super().create_train_loop_fn()
        progress, step = self.progress, tf.function(self.train_step)
        first = True

        def loop(iterator: Any, num_steps: tf.Tensor) -> None:
            nonlocal first
            progress.begin_loop(int(self.global_step.numpy()))
            for _ in range(int(num_steps)):
                if not first:
                    step(iterator)
                    progress.step_done()
                    continue
                with progress.stage("making the graph of a step"):
                    step.get_concrete_function(iterator)
                with progress.stage("optimizing the graph, and the first step"):
                    step(iterator)
                progress.first_step_done()
                first = False

        return loop

    def eval_begin(self) -> None:
        """Starts an evaluation."""
        self._hold_averages(True)
        super().eval_begin()

    def eval_end(self, aggregated_logs: Any = None) -> dict[str, Any]:
        """Ends it: returns its results, after the best checkpoint was written."""
        logs = super().eval_end(aggregated_logs)
        self._hold_averages(False)
        return logs

    def _hold_averages(self, averages: bool) -> None:
        optimizer = without_loss_scaling(self.optimizer)
        optimizer.hold_averages(self.model.trainable_variables, averages)


class CheckpointManager(FolderCheckpointManager):
    """Keeps the checkpoints of a run, all of them good, and with averaged weights where there are.

    A step that failed leaves the weights as they were, and these may be what made it fail: so
    nothing is saved until a step succeeds again.
    """

    def __init__(self, run: TrainingRun, checkpoint: tf.train.Checkpoint, **options: Any):
        """Makes the manager.

        Args:
          run: whose checkpoints they are.
          checkpoint: what is saved.
          **options: of tf.train.CheckpointManager.
        """
        super().__init__(checkpoint, **options)
        self._run = run
        self._last_step = -1

    def save(
        self,
        checkpoint_number: Optional[int] = None,
        check_interval: bool = True,
        options: Any = None,
    ) -> Optional[str]:
        """Saves, if it is time and the last step succeeded; returns the prefix."""
        step = self._run.step()
        soon = check_interval and step < self._last_step + self.checkpoint_interval
        if soon or step == self._last_step or self._run.training_step.health.failing():
            return None
        self._run.hold_averages(True)
        path = super().save(checkpoint_number, check_interval=False, options=options)
        self._run.hold_averages(False)
        self._last_step = step
        return path

    def restore_or_initialize(self) -> Optional[str]:
        """Restores the newest checkpoint of the run; initializes and saves where there is none.

        Workers that save into a folder of their own, because only the chief's counts, restore the
        chief's as well: theirs is gone after a restart.
        """
        path = latest_checkpoint(self._run.model_dir)
        if path is None:
            super().restore_or_initialize()
            self._run.begin()
            self.save(0, check_interval=False)
            return None
        self._run.begin()
        self.checkpoint.restore(plain_path(path))
        self._run.hold_averages(False)
        self._last_step = self._run.step()
        return path


class BestCheckpoint(train_utils.BestCheckpointExporter):
    """Keeps the checkpoint with the best results in a folder of any name."""

    def _get_checkpoint_manager(self, checkpoint: tf.train.Checkpoint) -> FolderCheckpointManager:
        manager = super()._get_checkpoint_manager(checkpoint)
        if not isinstance(manager, FolderCheckpointManager):
            self._checkpoint_manager = manager = FolderCheckpointManager(
                checkpoint,
                directory=self._export_dir,
                max_to_keep=1,
                checkpoint_name=train_utils.BEST_CHECKPOINT_NAME,
            )
        return manager


class TrainingRun:
    """What checkpoints and recovery need to know of a run.

    Attributes:
      model: the model.
      training_step: its step.
      global_step: counts steps.
      model_dir: folder of the run.
    """

    def __init__(
        self, model: KMaX, training_step: TrainingStep, global_step: tf.Variable, model_dir: str
    ):
        self.model = model
        self.training_step = training_step
        self.global_step = global_step
        self.model_dir = model_dir

    @property
    def optimizer(self) -> GroupedOptimizer:
        """Returns the optimizer, without its loss scaling."""
        return without_loss_scaling(self.training_step.optimizer)

    def step(self) -> int:
        """Returns the global step."""
        return int(self.global_step.numpy())

    def begin(self) -> None:
        """Creates the state of the optimizer."""
        self.optimizer.begin(self.model.trainable_variables)

    def hold_averages(self, averages: bool) -> None:
        """Puts averaged weights into the model, or takes them out."""
        self.optimizer.hold_averages(self.model.trainable_variables, averages)


class MustGoBack:
    """Condition: so many steps in a row failed. Tells people about every failed step."""

    def __init__(self, run: TrainingRun, patience: Patience, say: Say):
        self.run = run
        self.patience = patience
        self.say = say

    def __call__(self, output: orbit.runner.Output) -> bool:
        """Looks at the last loop.

        Raises:
          NonFiniteError: the run has gone back often enough.
        """
        failures: Failures = self.run.training_step.health.look()
        step = self.run.step()
        if failures.steps:
            self.say(
                f"step {step}: skipped {failures.steps} of the last steps ({failures.skipped} in "
                f"all): {failures.sentence()}"
            )
        if not self.patience.is_over(failures, f"the steps up to {step}"):
            return False
        self.say(
            f"step {step}: {count_of(failures.longest_streak, 'failed step')} in a row, going back "
            f"to the last checkpoint ({self.patience.used} of at most "
            f"{count_of(self.patience.rollbacks, 'time')})"
        )
        self.run.training_step.health.forget_streak()
        return True


class Runner(train_lib.OrbitExperimentRunner):
    """Runs an experiment, with our checkpoints and recovery."""

    def __init__(self, run: TrainingRun, patience: Patience, say: Say, **options: Any):
        """Makes the runner; restores the newest checkpoint.

        Args:
          run: what it runs.
          patience: with failed steps.
          say: prints a line.
          **options: of OrbitExperimentRunner.
        """
        self._run = run
        self._condition = MustGoBack(run, patience, say)
        super().__init__(**options)

    def _maybe_build_checkpoint_manager(self) -> CheckpointManager:
        theirs = super()._maybe_build_checkpoint_manager()
        trainer = self.params.trainer
        chief = theirs.directory == os.fspath(self.model_dir)
        return CheckpointManager(
            self._run,
            theirs.checkpoint,
            directory=theirs.directory,
            max_to_keep=trainer.max_to_keep if chief else 1,
            step_counter=self._run.global_step,
            checkpoint_interval=trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
        )

    def _build_controller(
        self, *args: Any, train_actions: Optional[list[orbit.Action]] = None, **options: Any
    ) -> orbit.Controller:
        recovery = orbit.actions.ConditionalAction(
            self._condition, actions.RecoveryAction(self.checkpoint_manager)
        )
        return super()._build_controller(
            *args, train_actions=[recovery, *(train_actions or [])], **options
        )
