"""`kmax train`, which trainer.py runs, too: trains an experiment.

Run it again with the same folder and it continues from the newest checkpoint.
"""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

HELP = "train an experiment (as python trainer.py does)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    arguments.add_config(parser)
    parser.add_argument(
        "--model_dir",
        required=True,
        metavar="FOLDER",
        help="folder of the run: checkpoints, TensorBoard logs",
    )
    parser.add_argument(
        "--mode",
        choices=["train", "train_and_eval"],
        default="train_and_eval",
        help="what to do (default: %(default)s)",
    )
    parser.add_argument(
        "--strategy",
        choices=["one_device", "mirrored", "multi_worker", "tpu"],
        help="short for --set runtime.strategy=...",
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """The training run as a story."""
    from kmax_tf.config import load_experiment, options_of, validate
    from kmax_tf.data.builder import check_records
    from kmax_tf.keras_api import keras
    from kmax_tf.run_record import write_run_record
    from kmax_tf.training.run import check_run, run_training
    from kmax_tf.training.strategy import (
        RuntimeOptions,
        build_strategy,
        set_precision,
        set_threads,
    )

    # What: the experiment, complete, with records of its classes and a folder of its own.
    strategy_override = [f"runtime.strategy={args.strategy.upper()}"] if args.strategy else []
    experiment = load_experiment(args.config, [*args.overrides, *strategy_override])
    check_records(experiment, training=True)
    if args.mode == "train_and_eval":
        check_records(experiment, training=False)
    check_run(experiment, args.model_dir)

    # Where: threads and devices (before anything else runs on them), precision; the seed of all
    # that is random.
    runtime = options_of(RuntimeOptions, experiment.runtime)
    set_threads(runtime)
    strategy = build_strategy(runtime)
    validate(experiment, strategy.num_replicas_in_sync)
    write_run_record(experiment, args.model_dir)  # nothing it says can fail from here on
    set_precision(runtime)
    keras.utils.set_random_seed(experiment.training.seed)

    run_training(experiment, strategy, args.model_dir, args.mode)
    return 0
