"""Trains a small model on one device or two, one batch spoiled: run by small_replicas_test.py."""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.builder import with_skipping
from tests.training.small import adamw, batch, small_model, small_step, state

OPTIMIZERS = {
    "ours": lambda: adamw(average_decay=0.9, lookahead_period=2),
    "scaled": lambda: keras.mixed_precision.LossScaleOptimizer(adamw(), initial_scale=1),
    "keras": lambda: with_skipping(keras.optimizers.Adam(0.01, epsilon=1e-3)),
}


def main(devices: int, jit_compile: bool, output: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    strategy: tf.distribute.Strategy = tf.distribute.get_strategy()
    if devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])
    batches = [batch(0), batch(1), batch(2), batch(3)]
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
        distributed = iter(strategy.experimental_distribute_dataset(data.unbatch().batch(8)))

        @tf.function
        def run(inputs, step=step):
            return strategy.run(step, args=inputs)

        for _ in batches:
            run(next(distributed))
        failures = step.health.look()
        results[f"{name}/failures"] = [failures.steps, failures.skipped, failures.longest_streak]
        if name == "ours":
            step.optimizer.hold_averages(model.trainable_variables, True)
        for key, value in state(step).items():
            results[f"{name}/{key}"] = value
    np.savez(output, **{name.replace("/", "|"): value for name, value in results.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "jit", sys.argv[3])
