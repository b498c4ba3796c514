"""Writing our weights as the public implementations' checkpoints."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
import tensorflow as tf
from google.protobuf import text_format

from kmax_tf.checkpoints import deeplab2, pytorch
from kmax_tf.checkpoints.places import CLASS_HEAD, variable_names
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.config import Experiment, label_space
from kmax_tf.errors import OutputError
from kmax_tf.files.ownership import check_free, note_written
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.model.kmax import KMaX

EXPORT_FORMATS = ("deeplab2", "pytorch", "safetensors")


def export_checkpoint(model: KMaX, path: str | os.PathLike[str], format: str) -> str:
    """Writes a model's weights with the names and layouts of a public implementation.

    Importing the file again gives the same weights, bit for bit.

    Args:
      model: with its weights.
      path: prefix ("deeplab2") or file.
      format: "deeplab2": a TensorFlow checkpoint; "pytorch": a .pkl of NumPy arrays, as
        detectron2 reads it; "safetensors": the same values as a safetensors file.

    Returns:
      The path that was written.

    Raises:
      CheckpointError: no such format, a suffix of another one, or the format has no place for the
        model's backbone.
      OutputError: the file cannot be written.
    """
    path = os.fspath(path)
    if format not in EXPORT_FORMATS:
        raise CheckpointError(f"no format '{format}'; give one of {', '.join(EXPORT_FORMATS)}")
    file, *_ = exported_files(path, format)
    check_writable(os.path.dirname(os.path.abspath(path)))
    places = (deeplab2 if format == "deeplab2" else pytorch).places(model)
    order = _class_order(model) if format != "deeplab2" else None
    state = {}
    for name, variable in variable_names(model).items():
        value = variable.numpy()
        if order is not None and CLASS_HEAD.match(name):
            value = value[..., order]
        state[places[name].key] = places[name].from_ours(value)
    if format == "deeplab2":
        return _write_tensorflow(state, path)
    write_state(state, file)
    return file


def write_state(state: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays by name: as safetensors, if the path says so, or as a pickle of NumPy arrays.

    detectron2's checkpointer, and so the public PyTorch implementation, loads such a pickle from a
    file that ends in .pkl, and matches names exactly.

    Raises:
      OutputError: the file cannot be written.
    """
    path = os.fspath(path)
    arrays = {
        name: np.ascontiguousarray(value).reshape(value.shape) for name, value in state.items()
    }
    if path.endswith(".safetensors"):
        content = safetensors.numpy.save(arrays)
    else:
        content = pickle.dumps({"model": arrays, "__author__": "kmax_tf"}, protocol=4)
    write_atomically(path, content)


def _class_order(model: KMaX) -> np.ndarray:
    """Returns which of our class channels comes at each place in the order of ids, void last."""
    experiment = text_format.Parse(model.experiment_text, Experiment())
    ids = label_space(experiment.dataset).ids
    return np.append(np.argsort(ids), len(ids))


def checkpoint_files(prefix: str) -> list[str]:
    """Returns the files of a TensorFlow checkpoint that one process wrote."""
    return [f"{prefix}.index", f"{prefix}.data-00000-of-00001"]


def exported_files(path: str, format: str) -> list[str]:
    """Returns the files that `export_checkpoint` writes.

    Raises:
      CheckpointError: the path has a suffix of another format.
    """
    if format == "deeplab2":
        return checkpoint_files(path)
    suffix = ".safetensors" if format == "safetensors" else ".pkl"
    if path.endswith(suffix):
        return [path]
    if path.endswith((".pkl", ".pth", ".pt", ".safetensors")):
        raise CheckpointError(f"{path}: a file of the format '{format}' ends in {suffix}")
    return [path + suffix]


def _write_tensorflow(state: dict[str, np.ndarray], prefix: str) -> str:
    keys = sorted(state)
    files = checkpoint_files(prefix)
    check_free(files)
    try:
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=keys,
            shape_and_slices=[""] * len(keys),
            tensors=[tf.constant(state[key]) for key in keys],
        )
    except tf.errors.OpError as error:
        raise OutputError(f"cannot write the checkpoint {prefix}: {error}") from error
    for path in files:
        note_written(path)
    return prefix
