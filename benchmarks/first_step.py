"""What goes on before the first training step of an experiment, in seconds, as the trainer does it.

One JSON line: building the model, the optimizer's state, making the graph of a step (and its
operations, also those inside of functions), and the first call, which optimizes the graph; last,
the times of the steps behind it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from measuring import finished, parser_of, print_line, summary, time_in_turns
from train_step import example

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_training_step


def main() -> None:
    """Measures and prints."""
    args = parser_of(
        __doc__, config="shapes/laptop.textproto", size=97, batch=8, segments=5, repeats=7
    ).parse_args()
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
        step.begin()
    inputs = example(args, experiment)
    function = tf.function(step)
    with timed("graph"):
        graph = function.get_concrete_function(*inputs).graph.as_graph_def()
    with timed("first_call"):
        finished(function(*inputs))
    later = time_in_turns({"step": lambda: finished(function(*inputs))}, args.repeats)["step"]
    operations = len(graph.node) + sum(len(f.node_def) for f in graph.library.function)
    print_line(
        case="step",
        **{name: getattr(args, name) for name in ("config", "size", "batch")},
        operations=operations,
        seconds=seconds,
        **summary(later),
    )


if __name__ == "__main__":
    main()
