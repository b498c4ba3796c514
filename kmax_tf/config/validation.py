"""What is wrong with an experiment as a whole, each rule being a small check.

A check is a generator of problems. The ranges of single numbers stand in protos/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kmax_tf.config.checks import data, dataset, model, postprocessing, training
from kmax_tf.config.problems import Problem
from kmax_tf.config.ranges import out_of_range
from kmax_tf.protos.dataset_pb2 import Dataset
from kmax_tf.protos.experiment_pb2 import Experiment


def problems(experiment: Experiment, num_replicas: int = 1) -> list[Problem]:
    """Returns all that is wrong with an experiment.

    Args:
      experiment: resolved, as load_experiment gives it.
      num_replicas: devices that share a batch.
    """
    # The checks divide by numbers, so these must be in range first.
    found = list(out_of_range(experiment))
    if not found:
        found = [problem for check in _CHECKS for problem in check(experiment)]
        found.extend(training.batch_divides(experiment, num_replicas))
    return found


def dataset_problems(description: Dataset) -> list[Problem]:
    """Returns all that is wrong with a dataset description by itself."""
    alone = Experiment(dataset=description)
    found = list(out_of_range(alone))
    return found or [problem for check in dataset.ALONE for problem in check(alone)]


def _parts_present(experiment: Experiment) -> Iterator[Problem]:
    for parent, group in (
        ("model", "backbone"),
        ("training.optimizer", "algorithm"),
        ("training.optimizer", "schedule"),
        ("postprocessing", "merging"),
    ):
        message: Any = experiment
        for name in parent.split("."):
            message = getattr(message, name)
        if message.WhichOneof(group) is None:
            choices = [field.name for field in message.DESCRIPTOR.oneofs_by_name[group].fields]
            yield Problem(
                parent,
                f"has no {group}; give it {', '.join(choices[:-1])} or {choices[-1]} {{ ... }}",
            )


_CHECKS = (
    _parts_present,
    *dataset.CHECKS,
    *data.CHECKS,
    *model.CHECKS,
    *training.CHECKS,
    *postprocessing.CHECKS,
)
