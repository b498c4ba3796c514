import itertools

import numpy as np
from official.core import config_definitions

from kmax_tf.training.task import KMaXTask, experiment_config
from tests.training.tiny import tiny_experiment


def test_the_task_goes_on_with_the_data_of_its_first_step(shapes_records):
    overrides = ("train_data.batch_size=2", "train_data.max_segments=24")
    experiment = tiny_experiment(f"data_dir={shapes_records}", *overrides)
    task = KMaXTask(experiment_config(experiment).task)
    params = config_definitions.DataConfig(is_training=True)
    whole = [images.numpy() for images, _ in itertools.islice(task.build_inputs(params), 5)]
    task.first_step = 3
    resumed = [images.numpy() for images, _ in itertools.islice(task.build_inputs(params), 2)]
    np.testing.assert_array_equal(whole[3:], resumed)
