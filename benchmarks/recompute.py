"""Peak memory and time of a training step: as it is, with blocks recomputed, in parts.

One JSON line a case. Memory is what the process grows by at most in a first step, each case in a
process of its own; times are measured in turns, and `ratio` and `memory_ratio` are to `plain`.
"""

from __future__ import annotations

import argparse
from typing import Callable

import tensorflow as tf
from measuring import (
    Run,
    finished,
    parser_of,
    peak_memory,
    peak_memory_in_a_process,
    print_line,
    ratio,
    summary,
    time_in_turns,
)
from train_step import example

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_training_step

CASES = {
    "plain": [],
    "recomputed": ["runtime.recompute_blocks=true"],
    "micro_batches": ["training.optimizer.micro_batches={batch}"],
    "both": ["runtime.recompute_blocks=true", "training.optimizer.micro_batches={batch}"],
}


def main() -> None:
    """Measures and prints."""
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.mixed_precision.set_global_policy(args.precision)
    names = [name for name in CASES if args.batch > 1 or name in ("plain", "recomputed")]
    if args.memory_of:
        print_line(peak_memory_mb=peak_memory(case(args, args.memory_of)()))
        return
    seconds = {}
    if args.repeats:
        seconds = time_in_turns({name: case(args, name)() for name in names}, args.repeats)
    setting = {name: getattr(args, name) for name in ("config", "size", "batch", "precision")}
    plain_memory = None
    for name in names:
        times = {}
        if seconds:
            times = {**summary(seconds[name]), "ratio": ratio(seconds[name], seconds["plain"])}
        memory = peak_memory_in_a_process(name)
        plain_memory = plain_memory or memory
        print_line(
            case=name,
            **setting,
            **times,
            peak_memory_mb=memory,
            memory_ratio=memory and round(memory / plain_memory, 3),
        )


def case(args: argparse.Namespace, name: str) -> Callable[[], Run]:
    """Returns what makes the step of a case."""

    def build() -> Run:
        keras.utils.set_random_seed(0)
        changes = [change.format(batch=args.batch) for change in CASES[name]]
        experiment = kmax_tf.load_experiment(
            args.config, [*args.set, f"train_data.batch_size={args.batch}", *changes]
        )
        images, targets = example(args, experiment)
        step = build_training_step(experiment, kmax_tf.build_model(experiment))
        function = tf.function(lambda: step(images, targets))
        return lambda: finished(function())

    return build


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of(
        __doc__,
        config="coco/resnet50.textproto",
        size=321,
        batch=4,
        segments=20,
        threads=2,
        repeats=3,  # 0: memory only
        precision="float32",
    )
    parser.add_argument("--memory-of", help="print the peak memory of this case only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
