"""Running an experiment through tf-models-official's trainer, and telling people about it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from kmax_tf.checkpoints.folders import latest_checkpoint
from kmax_tf.checkpoints.restore import way_to_other_classes
from kmax_tf.config import Experiment, mean_the_same, options_of
from kmax_tf.errors import UserError
from kmax_tf.files.writing import plain_path
from kmax_tf.training.builder import base_rate
from kmax_tf.training.run_progress import RunProgress, Say
from kmax_tf.training.runner import BestCheckpoint, Runner, Trainer
from kmax_tf.training.stability import Patience
from kmax_tf.training.task import BEST_FOLDER, KMaXTask, best_metric, experiment_config
from kmax_tf.wording import count_of

# Of an evaluation in training, in one line.
_KINDS = ("things", "stuff")
_SCORES = ("ap", "miou", "pq/all", *(f"pq/{kind}" for kind in _KINDS))


def check_run(experiment: Experiment, model_dir: str) -> None:
    """Checks that a run's folder is new or holds a run of this model.

    Raises:
      UserError: it holds a run of another model or dataset.
    """
    record = pathlib.Path(model_dir) / "experiment.textproto"
    if record.exists() and latest_checkpoint(model_dir):
        earlier = text_format.Parse(record.read_text("utf-8"), Experiment())
        for part in ("model", "dataset"):
            if not mean_the_same(getattr(earlier, part), getattr(experiment, part)):
                raise UserError(
                    f"{model_dir} holds a run whose `{part}` differs from this experiment's, so "
                    "its checkpoints don't fit. Give another --model_dir, or the same experiment "
                    f"({record}). {way_to_other_classes(model_dir)}"
                )


def trained_steps(model_dir: str) -> int:
    """Returns the step of the newest checkpoint of a run's folder, 0 where there is none."""
    newest = latest_checkpoint(model_dir)
    if newest is None:
        return 0
    reader = tf.train.load_checkpoint(plain_path(newest))
    return int(reader.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE"))


def run_training(
    experiment: Experiment, strategy: tf.distribute.Strategy, model_dir: str, mode: str
) -> None:
    """Trains, resuming from the newest checkpoint of the folder, and evaluates if the mode says so.

    Args:
      experiment: the resolved experiment.
      strategy: devices.
      model_dir: folder of checkpoints, TensorBoard logs and train.log.
      mode: "train" or "train_and_eval".

    Raises:
      NonFiniteError: losses or gradients keep failing to be finite.
    """
    training = experiment.training
    config = experiment_config(experiment)
    task = KMaXTask(config.task)
    task.first_step = trained_steps(model_dir)
    best = os.path.join(model_dir, BEST_FOLDER)
    with library_log(os.path.join(model_dir, "train.log")) as say:
        progress = RunProgress(training.steps, experiment.train_data.batch_size, say)
        with strategy.scope(), progress.stage("building the model"):
            model = task.build_model()
            optimizer = task.prepare_training(model).optimizer
            trainer = Trainer(
                config,
                task,
                model,
                optimizer,
                train=True,
                evaluate=mode == "train_and_eval",
                checkpoint_exporter=BestCheckpoint(best, best_metric(experiment), "higher"),
                progress=progress,
            )
        say(f"train {experiment.name}: {model.count_params():,} parameters, logs in {model_dir}")
        say(rate_line(experiment))
        if task.first_step:
            seen = task.first_step * experiment.train_data.batch_size
            say(f"going on from step {task.first_step}, after {count_of(seen, 'training example')}")
        with progress.stage(_start(experiment, model_dir)):
            runner = Runner(
                options_of(Patience, training.stability),
                say,
                distribution_strategy=strategy,
                task=task,
                mode=mode,
                params=config,
                model_dir=model_dir,
                trainer=trainer,
                eval_actions=[lambda output: say(evaluation_line(output))],
            )
        runner.run()


def rate_line(experiment: Experiment) -> str:
    """Returns one line about the rate that the schedule starts from."""
    rate, batch_size = base_rate(experiment), experiment.train_data.batch_size
    optimizer = experiment.training.optimizer
    if not optimizer.reference_batch_size:
        return f"learning rate {rate:g}, as given, for batches of {batch_size}"
    return (
        f"learning rate {rate:g} = {optimizer.learning_rate:g} x {batch_size} / "
        f"{optimizer.reference_batch_size}: scaled from the reference batch to this one"
    )


def _start(experiment: Experiment, model_dir: str) -> str:
    """Returns what is done before the first step: where the weights come from."""
    newest = latest_checkpoint(model_dir)
    if newest is not None:
        return f"restoring the checkpoint {newest}"
    training = experiment.training
    given = training.initial_checkpoint or training.initial_weights
    return f"loading the weights {given}" if given else "saving the fresh weights"


@contextlib.contextmanager
def library_log(path: str) -> Iterator[Say]:
    """Sends what the libraries print to a file; yields what prints for people."""
    people = sys.stdout

    def say(line: str) -> None:
        print(line, file=people, flush=True)

    with open(path, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield say


def evaluation_line(output: Any) -> str:
    """Returns one line about an evaluation in training: of the kinds of classes that there are."""
    scores = {name: float(np.asarray(output[name])) for name in output if name in _SCORES}
    kinds = ", ".join(f"{k} {scores[f'pq/{k}']:.1f}" for k in _KINDS if f"pq/{k}" in scores)
    pq = f"PQ {scores['pq/all']:.1f}" + (f" ({kinds})" if "," in kinds else "")
    ap = f"mask AP {scores['ap']:.1f}  " if "ap" in scores and "pq/stuff" not in scores else ""
    return f"evaluation: {ap}{pq}  mIoU {scores['miou']:.1f}"
