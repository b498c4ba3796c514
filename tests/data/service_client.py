"""Reads training data through a tf.data service of its own: run by builder_test.py.

A process for itself: a service that is stopped while an endless dataset is read may wait forever.
"""

from __future__ import annotations

import itertools
import os
import sys

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from kmax_tf.data.builder import build_dataset
from kmax_tf.protos import experiment_pb2


def take(experiment: experiment_pb2.Experiment, count: int) -> list:
    dataset = build_dataset(experiment, training=True)
    return [
        tf.nest.map_structure(lambda tensor: tensor.numpy(), element)
        for element in itertools.islice(dataset, count)
    ]


def main(text: str) -> None:
    experiment = text_format.Parse(text, experiment_pb2.Experiment())
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    _worker = service.WorkerServer(service.WorkerConfig(address))
    expected = take(experiment, 3)
    experiment.train_data.service_address = dispatcher.target
    found = take(experiment, 3)  # a single worker keeps the order
    tf.nest.map_structure(np.testing.assert_array_equal, expected, found)
    print(f"{len(found)} batches of {address} are equal", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
