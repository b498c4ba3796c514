"""Reads training data through a tf.data service of its own: run by builder_test and reader_test.

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
from kmax_tf.data.reader import read_forever
from kmax_tf.protos import experiment_pb2
from kmax_tf.records.index import index_records
from tests.options import reader_options


def take(experiment: experiment_pb2.Experiment, count: int) -> list:
    dataset = build_dataset(experiment, training=True)
    return [
        tf.nest.map_structure(lambda tensor: tensor.numpy(), element)
        for element in itertools.islice(dataset, count)
    ]


def start(num_workers: int) -> tuple[str, list]:
    """Starts a service; returns its address and what must be kept."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(address)) for _ in range(num_workers)]
    return dispatcher.target, [dispatcher, *workers]


def equal_batches(text: str) -> None:
    """Batches of an experiment are what they are without the service."""
    experiment = text_format.Parse(text, experiment_pb2.Experiment())
    address, _kept = start(1)
    expected = take(experiment, 3)
    experiment.train_data.service_address = address
    found = take(experiment, 3)  # a single worker keeps the order
    tf.nest.map_structure(np.testing.assert_array_equal, expected, found)
    print(f"{len(found)} batches are equal", flush=True)


def numbers(*files: str) -> None:
    """Prints the numbers of examples that two workers share."""
    address, _kept = start(2)
    dataset = read_forever(index_records(files, in_memory=True), reader_options(seed=3))
    service = tf.data.experimental.service
    served = dataset.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address))
    print(*(int(number) for number, _ in itertools.islice(served, 60)), flush=True)


if __name__ == "__main__":
    {"equal_batches": equal_batches, "numbers": numbers}[sys.argv[1]](*sys.argv[2:])
    os._exit(0)
