"""Trains on one device or on two, and writes the weights: run by replicas_test.py.

One strategy a process: two models under two strategies in one process crash on collectives.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.builder import with_skipping
from kmax_tf.training.task import KMaXTask, experiment_config
from tests.training.small import adamw, batch, small_model, small_step, state
from tests.training.tiny import tiny_batch, tiny_experiment

OPTIMIZERS = {
    "ours": lambda: adamw(average_decay=0.9, lookahead_period=2),
    "scaled": lambda: keras.mixed_precision.LossScaleOptimizer(adamw(), initial_scale=1),
    "keras": lambda: with_skipping(keras.optimizers.Adam(0.01, epsilon=1e-3)),
}


def train_small(strategy: tf.distribute.Strategy, jit_compile: bool) -> dict[str, np.ndarray]:
    """Trains a model of a few weights with every kind of optimizer, one batch spoiled."""
    batches = [batch(seed) for seed in range(4)]
    batches[2][0][-1, 0] = np.nan  # in the last replica's share only
    data = tf.data.Dataset.from_tensor_slices(
        tuple(tf.nest.map_structure(lambda *parts: np.stack(parts), *batches))
    )
    results = {}
    for name, make in OPTIMIZERS.items():
        with strategy.scope():
            model = small_model(normalized=False)
            step = small_step(
                model, make(), micro_batches=2, jit_compile=jit_compile, clip_norm=1.0
            )
        run(strategy, step, data.unbatch().batch(8), len(batches))
        failures = step.failures.read_and_reset()
        results[f"{name}/failures"] = [failures.steps, failures.skipped, failures.longest_streak]
        step.hold_averages(True)
        results.update((f"{name}/{key}", value) for key, value in state(step).items())
    return results


def train_tiny(strategy: tf.distribute.Strategy, jit_compile: bool) -> dict[str, np.ndarray]:
    """Trains a tiny KMaX by its task."""
    experiment = tiny_experiment(
        f"runtime.jit_compile={'true' if jit_compile else 'false'}",
        "training.optimizer.learning_rate=1e-3",
        "training.optimizer.clip_norm=1.0",
    )
    keras.utils.set_random_seed(1)
    task = KMaXTask(experiment_config(experiment).task)
    with strategy.scope():
        model = task.build_model()
        step = task.prepare_training(model)
        step.begin()
        metrics = task.build_metrics(training=True)
    data = tf.data.Dataset.from_tensor_slices(tiny_batch(experiment, 4)).batch(4).repeat()
    run(strategy, lambda *inputs: task.train_step(inputs, model, step.optimizer, metrics), data, 3)
    values = {variable.name: variable.numpy() for variable in model.variables}
    values.update({f"metric/{metric.name}": metric.result().numpy() for metric in metrics})
    return values


def run(strategy: tf.distribute.Strategy, step, data: tf.data.Dataset, count: int) -> None:
    inputs = iter(strategy.experimental_distribute_dataset(data))

    @tf.function
    def train(batch):
        strategy.run(step, args=batch)

    for _ in range(count):
        train(next(inputs))


def main(kind: str, devices: int, jit_compile: bool, output: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    strategy: tf.distribute.Strategy = tf.distribute.get_strategy()
    if devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])
    results = {"small": train_small, "tiny": train_tiny}[kind](strategy, jit_compile)
    np.savez(output, **{name.replace("/", "|"): value for name, value in results.items()})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "jit", sys.argv[4])
