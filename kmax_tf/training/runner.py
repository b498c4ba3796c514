"""tf-models-official's trainer and runner, with averaged weights, good checkpoints and recovery."""

from __future__ import annotations

import os
from typing import Any, Callable, Optional

import orbit
import tensorflow as tf
from official.core import actions, base_trainer, train_lib, train_utils

from kmax_tf.checkpoints.folders import FolderCheckpointManager, latest_checkpoint
from kmax_tf.files.writing import plain_path
from kmax_tf.training.run_progress import RunProgress, Say
from kmax_tf.training.stability import Patience
from kmax_tf.training.step import TrainingStep


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
        self.task.training_step.hold_averages(True)
        super().eval_begin()

    def eval_end(self, aggregated_logs: Any = None) -> dict[str, Any]:
        """Ends it: returns its results, after the best checkpoint was written."""
        logs = super().eval_end(aggregated_logs)
        self.task.training_step.hold_averages(False)
        return logs


class CheckpointManager(FolderCheckpointManager):
    """Keeps the checkpoints of a run, all of them good, and with averaged weights where there are.

    A step that failed leaves the weights as they were, and these may be what made it fail: so
    nothing is saved until a step succeeds again.
    """

    def __init__(
        self,
        training_step: TrainingStep,
        model_dir: str,
        checkpoint: tf.train.Checkpoint,
        step_counter: tf.Variable,
        **options: Any,
    ):
        """Makes the manager of a run's folder, with the options of tf.train.CheckpointManager."""
        super().__init__(checkpoint, step_counter=step_counter, **options)
        self._training_step = training_step
        self._model_dir = model_dir
        self._global_step = step_counter
        self._last_step = -1

    def save(
        self,
        checkpoint_number: Optional[int] = None,
        check_interval: bool = True,
        options: Any = None,
    ) -> Optional[str]:
        """Saves, if it is time and the last step succeeded; returns the prefix."""
        step = int(self._global_step.numpy())
        soon = check_interval and step < self._last_step + self.checkpoint_interval
        if soon or step == self._last_step or self._training_step.failures.last_step_failed():
            return None
        self._training_step.hold_averages(True)
        path = super().save(checkpoint_number, check_interval=False, options=options)
        self._training_step.hold_averages(False)
        self._last_step = step
        return path

    def restore_or_initialize(self) -> Optional[str]:
        """Restores the newest checkpoint of the run; initializes and saves where there is none.

        Workers that save into a folder of their own, because only the chief's counts, restore the
        chief's as well: theirs is gone after a restart.
        """
        path = latest_checkpoint(self._model_dir)
        if path is None:
            super().restore_or_initialize()
            self._training_step.begin()
            self.save(0, check_interval=False)
            return None
        self._training_step.begin()
        self.checkpoint.restore(plain_path(path))
        self._training_step.hold_averages(False)
        self._last_step = int(self._global_step.numpy())
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

    def _maybe_load_best_eval_metric(self) -> Any:
        logs = super()._maybe_load_best_eval_metric()
        # An earlier version told the best of a run without stuff by another score.
        return logs if logs is not None and set(self._metric_name) <= logs.keys() else None


class Runner(train_lib.OrbitExperimentRunner):
    """Runs an experiment, with our checkpoints and recovery."""

    def __init__(self, patience: Patience, say: Say, **options: Any):
        """Makes the runner, with its base's options, and restores the newest checkpoint."""
        self._patience = patience
        self._say = say
        super().__init__(**options)

    def _maybe_build_checkpoint_manager(self) -> CheckpointManager:
        theirs = super()._maybe_build_checkpoint_manager()
        trainer = self.params.trainer
        chief = theirs.directory == os.fspath(self.model_dir)
        return CheckpointManager(
            self.trainer.task.training_step,
            self.model_dir,
            theirs.checkpoint,
            directory=theirs.directory,
            max_to_keep=trainer.max_to_keep if chief else 1,
            step_counter=self.trainer.global_step,
            checkpoint_interval=trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
        )

    def _build_controller(self, *args: Any, **options: Any) -> orbit.Controller:
        recovery = orbit.actions.ConditionalAction(
            self._must_go_back, actions.RecoveryAction(self.checkpoint_manager)
        )
        return super()._build_controller(*args, **{**options, "train_actions": [recovery]})

    def _must_go_back(self, output: orbit.runner.Output) -> bool:
        counter = self.trainer.task.training_step.failures
        where = f"step {int(self.trainer.global_step.numpy())}"
        return self._patience.must_go_back(counter, where, "the last checkpoint", self._say)
