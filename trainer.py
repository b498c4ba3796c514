"""Trains an experiment: python trainer.py --config=FILE --model_dir=FOLDER --mode=train_and_eval.

Run it again with the same folder and it continues from the newest checkpoint.
"""

from __future__ import annotations

from absl import flags

from kmax_tf.cli.command_line import run_app

_CONFIG = flags.DEFINE_string("config", None, "experiment file (textproto)", required=True)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "folder of the run: checkpoints, TensorBoard logs", required=True
)
_MODE = flags.DEFINE_enum("mode", "train_and_eval", ["train", "train_and_eval"], "what to do")
_SET = flags.DEFINE_multi_string("set", [], "override: path.to.field=value (repeatable)")
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    None,
    ["one_device", "mirrored", "multi_worker", "tpu"],
    "short for --set runtime.strategy=...",
)


def main(_: list[str]) -> None:
    """The training run as a story."""
    from kmax_tf.config import load_experiment, options_of, validate
    from kmax_tf.data.builder import find_records
    from kmax_tf.keras_api import keras
    from kmax_tf.training.run import prepare_run, run_training
    from kmax_tf.training.strategy import (
        RuntimeOptions,
        build_strategy,
        set_precision,
        set_threads,
    )
    from kmax_tf.training.task import KMaXTask, experiment_config

    # What: the experiment, complete, with records of its classes; all is noted in the run's folder.
    strategy_override = [f"runtime.strategy={_STRATEGY.value.upper()}"] if _STRATEGY.value else []
    experiment = load_experiment(_CONFIG.value, [*_SET.value, *strategy_override])
    find_records(experiment, training=True)
    if _MODE.value == "train_and_eval":
        find_records(experiment, training=False)
    prepare_run(experiment, _MODEL_DIR.value)

    # Where: threads and devices (before anything else runs on them), precision; the seed of all
    # that is random.
    runtime = options_of(RuntimeOptions, experiment.runtime)
    set_threads(runtime)
    strategy = build_strategy(runtime)
    validate(experiment, strategy.num_replicas_in_sync)
    set_precision(runtime)
    keras.utils.set_random_seed(experiment.training.seed)

    # How: the task knows inputs, model, loss and metrics; the trainer knows the rest.
    config = experiment_config(experiment)
    task = KMaXTask(config.task)
    run_training(experiment, config, task, strategy, _MODEL_DIR.value, _MODE.value)


if __name__ == "__main__":
    run_app(main)
