"""Exchange of results between the processes of a run on several machines."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import numpy as np
import tensorflow as tf


def gather_values(value: Any) -> list[Any]:
    """Sends a value to all workers of the current strategy and returns theirs.

    Every worker must call it, at the same point of the run. With a single process it returns the
    value alone.

    Args:
      value: of anything that can be pickled.
    """
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return [value]
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    workers = max(1, sum(len(cluster.get(role, ())) for role in ("chief", "worker")))
    # Collectives carry no strings and no bytes: four bytes an integer, filled up with spaces.
    line = base64.b64encode(pickle.dumps(value)) + b"\n"
    line += b" " * (-len(line) % 4)
    mine = tf.constant(np.frombuffer(line, np.int32))
    replicas = strategy.num_replicas_in_sync // workers

    def speak(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        # One replica of each worker speaks for it.
        first = context.replica_id_in_sync_group % replicas == 0
        return mine if first else mine[:0]

    values = strategy.experimental_distribute_values_from_function(speak)
    gathered = strategy.gather(values, axis=0).numpy().tobytes()
    return [pickle.loads(base64.b64decode(line)) for line in gathered.split(b"\n") if line.strip()]
