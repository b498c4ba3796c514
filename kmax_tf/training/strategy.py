"""Devices: the distribution strategy and the precision of a run."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
from official.common import distribute_utils

from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras

# As tf-models-official names what isn't named alike.
_NAMES = {"MULTI_WORKER": "multi_worker_mirrored"}


@dataclasses.dataclass(frozen=True)
class RuntimeOptions:
    """Devices, threads and precision of a run.

    Attributes:
      strategy: ONE_DEVICE, MIRRORED, MULTI_WORKER or TPU.
      num_gpus: -1: all there are.
      tpu: address of the TPU.
      precision: FLOAT32, MIXED_BFLOAT16 or MIXED_FLOAT16.
      intra_op_threads: of an operation on CPUs; 0: as many as there are cores.
    """

    strategy: str
    num_gpus: int
    tpu: str
    precision: str
    intra_op_threads: int


def set_threads(runtime: RuntimeOptions) -> None:
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


def build_strategy(runtime: RuntimeOptions) -> tf.distribute.Strategy:
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
    if runtime.strategy == "ONE_DEVICE":
        num_gpus = min(num_gpus, 1)
    name = _NAMES.get(runtime.strategy, runtime.strategy.lower())
    try:
        return distribute_utils.get_distribution_strategy(
            name, num_gpus=num_gpus, tpu_address=runtime.tpu
        )
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).rstrip(". ")
        raise UserError(
            f"runtime.strategy {runtime.strategy} cannot start here: {reason}. For a TPU give its "
            "address in runtime.tpu; for several machines set TF_CONFIG."
        ) from error


def set_precision(runtime: RuntimeOptions) -> None:
    """Sets the Keras precision policy; call it before the model is built."""
    keras.mixed_precision.set_global_policy(runtime.precision.lower())
