import itertools

import numpy as np
import tensorflow as tf
from official.core import config_definitions

from kmax_tf.training.run import trained_steps
from kmax_tf.training.task import KMaXTask, experiment_config
from tests.training.tiny import tiny_experiment


def test_steps_are_those_of_the_newest_checkpoint(tmp_path):
    assert trained_steps(str(tmp_path)) == 0
    assert trained_steps(str(tmp_path / "absent")) == 0
    step = tf.Variable(0, dtype=tf.int64)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(global_step=step), str(tmp_path), max_to_keep=2, step_counter=step
    )
    for steps in (3, 8):
        step.assign(steps)
        manager.save()
    assert trained_steps(str(tmp_path)) == 8


def test_the_task_goes_on_with_the_data_of_its_first_step(shapes_records):
    overrides = ("train_data.batch_size=2", "train_data.max_segments=24")
    experiment = tiny_experiment(f"data_dir={shapes_records}", *overrides)
    task = KMaXTask(experiment_config(experiment).task)
    params = config_definitions.DataConfig(is_training=True)
    whole = [images.numpy() for images, _ in itertools.islice(task.build_inputs(params), 5)]
    task.first_step = 3
    resumed = [images.numpy() for images, _ in itertools.islice(task.build_inputs(params), 2)]
    np.testing.assert_array_equal(whole[3:], resumed)
