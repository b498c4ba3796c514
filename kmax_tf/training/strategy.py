"""Devices: the distribution strategy and the precision of a run."""

from __future__ import annotations

import tensorflow as tf
from official.common import distribute_utils

from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras
from kmax_tf.protos import training_pb2

_NAMES = {
    training_pb2.ONE_DEVICE: "one_device",
    training_pb2.MIRRORED: "mirrored",
    training_pb2.MULTI_WORKER: "multi_worker_mirrored",
    training_pb2.TPU: "tpu",
}


def set_threads(runtime: training_pb2.Runtime) -> None:
    """Sets the threads of an operation; call it before anything else of TensorFlow.

    Raises:
      UserError: TensorFlow has started with another number.
    """
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == runtime.intra_op_threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(runtime.intra_op_threads)
    except RuntimeError as error:
        raise UserError(
            f"runtime.intra_op_threads {runtime.intra_op_threads} comes too late: TensorFlow has "
            "started with another number of threads in this process. Run this in a new one."
        ) from error


def build_strategy(runtime: training_pb2.Runtime) -> tf.distribute.Strategy:
    """Builds the distribution strategy of an experiment.

    Raises:
      UserError: the GPUs or the TPU that it asks for are not there.
    """
    available = len(tf.config.list_physical_devices("GPU"))
    num_gpus = available if runtime.num_gpus < 0 else runtime.num_gpus
    if num_gpus > available:
        raise UserError(
            f"runtime.num_gpus is {num_gpus}, but TensorFlow sees {available}. "
            "`kmax doctor` lists the devices; -1 uses all there are."
        )
    if runtime.strategy == training_pb2.ONE_DEVICE:
        num_gpus = min(num_gpus, 1)
    try:
        return distribute_utils.get_distribution_strategy(
            _NAMES[runtime.strategy], num_gpus=num_gpus, tpu_address=runtime.tpu
        )
    except (ValueError, tf.errors.OpError) as error:
        name = training_pb2.Strategy.Name(runtime.strategy)
        reason = str(error).rstrip(". ")
        raise UserError(
            f"runtime.strategy {name} cannot start here: {reason}. For a TPU give its address in "
            "runtime.tpu; for several machines set TF_CONFIG."
        ) from error


def set_precision(runtime: training_pb2.Runtime) -> None:
    """Sets the Keras precision policy; call it before the model is built."""
    name = training_pb2.Precision.Name(runtime.precision).lower()
    keras.mixed_precision.set_global_policy(name)
