"""From a textproto to a resolved, valid experiment."""

from kmax_tf.config.dataset import label_space, parse_dataset, read_description
from kmax_tf.config.experiment import (
    experiment_text,
    load_experiment,
    mean_the_same,
    validate,
)
from kmax_tf.config.options import choice_name, options_of
from kmax_tf.config.shipped import shipped_configs, shipped_experiments
from kmax_tf.errors import ConfigError
from kmax_tf.protos.experiment_pb2 import Experiment

__all__ = [
    "ConfigError",
    "Experiment",
    "choice_name",
    "experiment_text",
    "label_space",
    "load_experiment",
    "mean_the_same",
    "options_of",
    "parse_dataset",
    "read_description",
    "shipped_configs",
    "shipped_experiments",
    "validate",
]
