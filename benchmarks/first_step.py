"""What goes on before the first training step of an experiment, in seconds, as the trainer does it.

One JSON line: building the model, the optimizer's state, making the graph of a step (and its
operations, also those inside of functions), and the first call, which optimizes the graph; last,
the median of the steps behind it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from measuring import finished, print_line
from train_step import example

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_training_step


def main() -> None:
    """Measures and prints."""
    args = arguments()
    keras.utils.set_random_seed(0)
    experiment = kmax_tf.load_experiment(args.config, args.set)
    tf.config.threading.set_intra_op_parallelism_threads(experiment.runtime.intra_op_threads)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - start, 2)

    with timed("model"):
        model = kmax_tf.build_model(experiment)
        step = build_training_step(experiment, model)
    with timed("optimizer"):
        step.optimizer.begin(model.trainable_variables)
    inputs = example(args, experiment)
    function = tf.function(step)
    with timed("graph"):
        graph = function.get_concrete_function(*inputs).graph.as_graph_def()
    with timed("first_call"):
        finished(function(*inputs))
    later = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        finished(function(*inputs))
        later.append(time.perf_counter() - start)
    operations = len(graph.node) + sum(len(f.node_def) for f in graph.library.function)
    print_line(
        **{name: getattr(args, name) for name in ("config", "size", "batch")},
        operations=operations,
        seconds=seconds,
        step_ms=round(1e3 * statistics.median(later), 1),
    )


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="shapes/laptop.textproto", help="experiment file")
    parser.add_argument("--set", action="append", default=[], help="override, as in kmax config")
    parser.add_argument("--size", type=int, default=97, help="side of the images")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--segments", type=int, default=5, help="of an image")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
