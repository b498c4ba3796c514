"""Trains three steps on one device or on two, and writes the weights: run by replicas_test.py.

One strategy a process: two models under two strategies in one process crash on collectives.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.task import KMaXTask, experiment_config
from tests.training.tiny import tiny_batch, tiny_experiment


def main(devices: int, jit_compile: bool, output: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    strategy: tf.distribute.Strategy = tf.distribute.get_strategy()
    if devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])
    experiment = tiny_experiment(
        f"runtime.jit_compile={'true' if jit_compile else 'false'}",
        "training.optimizer.learning_rate=1e-3",
        "training.optimizer.clip_norm=1.0",
    )
    keras.utils.set_random_seed(1)
    task = KMaXTask(experiment_config(experiment).task)
    with strategy.scope():
        model = task.build_model()
        optimizer = task.prepare_training(model).optimizer
        optimizer.begin(model.trainable_variables)
        metrics = task.build_metrics(training=True)
    data = tf.data.Dataset.from_tensor_slices(tiny_batch(experiment, 4)).batch(4).repeat()
    inputs = iter(strategy.experimental_distribute_dataset(data))

    @tf.function
    def step() -> None:
        strategy.run(
            lambda batch: task.train_step(batch, model, optimizer, metrics), args=(next(inputs),)
        )

    for _ in range(3):
        step()
    values = {variable.name: variable.numpy() for variable in model.variables}
    values.update({f"metric/{metric.name}": metric.result().numpy() for metric in metrics})
    np.savez(output, **{name.replace("/", "|"): value for name, value in values.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "jit", sys.argv[3])
