"""What was recorded: the variables of the public checkpoints, weights for ours, tensors."""

from __future__ import annotations

import gzip
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints.deeplab2 import checkpoint_keys
from kmax_tf.checkpoints.places import variable_names
from kmax_tf.checkpoints.restore import SUFFIX
from kmax_tf.model.kmax import KMaX
from tests.golden import pytorch_weights_recipe, sampling, weights_recipe

FOLDER = pathlib.Path(__file__).parent


class Variable(NamedTuple):
    """A variable of a public checkpoint."""

    shape: list[int]
    trainable: bool


class PyTorchVariable(NamedTuple):
    """A variable of a public PyTorch model: there, and in the TensorFlow checkpoints."""

    key: str
    shape: list[int]
    theirs: str
    their_shape: list[int]
    axes: str


def variable_lists() -> list[str]:
    """Returns the models whose variables were recorded."""
    return sorted(path.name.split(".")[0] for path in (FOLDER / "variables").iterdir())


def variables(model_name: str) -> dict[str, Variable]:
    """Returns the variables of the public checkpoint of a model by key."""
    rows = _rows(FOLDER / "variables" / f"{model_name}.txt.gz")
    return {key + SUFFIX: Variable(_shape(s), bool(int(t))) for key, s, t in rows}


def recipe_weights(model_name: str) -> dict[str, np.ndarray]:
    """Returns the weights of the recording of a model, by key."""
    return {
        key: weights_recipe.weight(key, recorded.shape)
        for key, recorded in variables(model_name).items()
    }


def pytorch_keys(model_name: str) -> list[PyTorchVariable]:
    """Returns the variables of a public PyTorch model."""
    return [
        PyTorchVariable(key + SUFFIX, _shape(shape), theirs, _shape(their_shape), axes)
        for key, shape, theirs, their_shape, axes in _rows(FOLDER / f"{model_name}_keys.txt.gz")
    ]


def pytorch_recipe_weights(model_name: str) -> dict[str, np.ndarray]:
    """Returns the weights of the PyTorch recording by our key, in TensorFlow's layout."""
    weights = {}
    for row in pytorch_keys(model_name):
        value = pytorch_weights_recipe.weight(row.theirs, row.their_shape)
        if row.axes != "-":
            value = value.transpose([int(axis) for axis in row.axes])
        weights[row.key] = value.reshape(row.shape)
    return weights


def assign(model: KMaX, weights: Mapping[str, np.ndarray]) -> None:
    """Gives every variable its weight. Shapes may differ by axes of length 1."""
    keys = checkpoint_keys(model)
    assert set(keys.values()) == set(weights)
    for name, variable in variable_names(model).items():
        variable.assign(weights[keys[name]].reshape(variable.shape))


def check(
    recorded: Mapping[str, np.ndarray], tensors: Mapping[str, tf.Tensor], tolerance: float
) -> None:
    """Compares every tensor with what was kept of the recorded one of that name."""
    errors = {
        key: sampling.relative_error(
            tensor.numpy(), recorded[f"samples/{key}"], recorded[f"statistics/{key}"]
        )
        for key, tensor in tensors.items()
    }
    assert {key: error for key, error in errors.items() if not error < tolerance} == {}


def tensor_names(recorded: np.lib.npyio.NpzFile) -> set[str]:
    """Returns the names of the tensors of a recording."""
    return {key.split("/", 1)[1] for key in recorded.files if key.startswith("samples/")}


def _rows(path: pathlib.Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line.split() for line in file]


def _shape(text: str) -> list[int]:
    return [] if text == "-" else [int(side) for side in text.split("x")]
