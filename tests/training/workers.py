"""Evaluates as the trainer does, in one process or as one of several: run by workers_test.py."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorflow as tf
from official.core import base_trainer

from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_optimizer
from kmax_tf.training.task import KMaXTask, experiment_config
from tests.training.tiny import tiny_experiment


def main(records: str, output: str) -> None:
    several = "TF_CONFIG" in os.environ
    strategy: tf.distribute.Strategy = (
        tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    )
    experiment = tiny_experiment(
        f"data_dir={records}",
        "eval_data.crop_size=65,65",
        "eval_data.min_size=65",
        "eval_data.max_size=65",
        "eval_data.batch_size=2",
        # An untrained network is never sure: let it predict something.
        "postprocessing.mask_wise.thing_threshold=0",
        "postprocessing.mask_wise.stuff_threshold=0",
        "postprocessing.pixel_threshold=0",
    )
    keras.utils.set_random_seed(1)
    config = experiment_config(experiment)
    task = KMaXTask(config.task)
    with strategy.scope():
        model = task.build_model()
        optimizer = build_optimizer(experiment, model)
        trainer = base_trainer.Trainer(config, task, model, optimizer, train=False, evaluate=True)
        logs = trainer.evaluate(tf.constant(-1))
    measured = {name: float(logs[name]) for name in logs if name != "validation_loss"}
    Path(output).write_text(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
