"""Reading public checkpoints of any format, for the importer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints import deeplab2, keras_weights, pytorch
from kmax_tf.checkpoints.places import Place
from kmax_tf.checkpoints.restore import (
    DAMAGED,
    SUFFIX,
    CheckpointError,
    find_checkpoint,
    way_to_other_classes,
)
from kmax_tf.checkpoints.torch_file import read_state
from kmax_tf.files.writing import plain_path
from kmax_tf.model.kmax import KMaX
from kmax_tf.wording import count_of

_TORCH_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors")
_KERAS_SUFFIXES = (".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class Source:
    """A public checkpoint, opened.

    Attributes:
      format: its name.
      shapes: of its values, by key.
      read: key -> value.
      places: where it has the variables of a model, by our names.
      part_of: key -> sub-model that it belongs to, "" for none.
      ignored: keys that belong to no model, such as an optimizer's; they are not in `shapes`.
      classes_by_id: whether its class heads have the classes in the order of the dataset's ids;
        else things come first, as in our models.
    """

    format: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    places: Mapping[str, Place]
    part_of: Callable[[str], str]
    ignored: tuple[str, ...] = ()
    classes_by_id: bool = False


def read_source(model: KMaX, path: str, format: str) -> Source:
    """Opens a checkpoint.

    Args:
      model: whose variables are looked for.
      path: file, prefix or folder; "imagenet" downloads the backbone of keras.applications.
      format: one of FORMATS, or "auto": by the file's name.

    Raises:
      CheckpointError: it is missing, damaged, or of another format.
    """
    if format == "auto":
        format = _format_of(path)
    if format not in FORMATS:
        raise CheckpointError(f"no format '{format}'; give one of {', '.join(FORMATS)}")
    return FORMATS[format](model, path)


def _format_of(path: str) -> str:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _TORCH_SUFFIXES:
        return "pytorch"
    keras = suffix in _KERAS_SUFFIXES or path == keras_weights.IMAGENET
    return "keras" if keras else "deeplab2"


def _read_deeplab2(model: KMaX, path: str) -> Source:
    prefix = find_checkpoint(path)
    try:
        reader = tf.train.load_checkpoint(plain_path(prefix))
        found = reader.get_variable_to_shape_map()
    except DAMAGED as error:
        raise CheckpointError(f"cannot read the checkpoint {prefix}: {error}") from error
    # Model Garden's ImageNet checkpoints hold the encoder in a classifier.
    garden = {key.replace("backbone/_encoder/", "encoder/", 1): key for key in found}
    shapes, ignored = {}, []
    for key, original in garden.items():
        whole = key.endswith(SUFFIX) and "/.OPTIMIZER_SLOT/" not in key
        if whole and deeplab2.part_of(key) in _PARTS:
            shapes[key] = tuple(found[original])
        else:
            ignored.append(original)
    if any(key.startswith("heads/") for key in found):
        raise CheckpointError(
            f"{prefix} is not a deeplab2 checkpoint: it is one of ours, which the same model takes "
            f"as it is, by training.initial_checkpoint. {way_to_other_classes(prefix)}"
        )
    if not shapes:
        raise CheckpointError(
            f"{prefix} is not a deeplab2 checkpoint: none of its {count_of(len(found), 'key')} is "
            "of one"
        )

    def read(key: str) -> np.ndarray:
        try:
            return np.asarray(reader.get_tensor(garden[key]))
        except DAMAGED as error:
            raise CheckpointError(f"cannot read {key} of {prefix}: {error}") from error

    places = deeplab2.places(model)
    return Source("deeplab2", shapes, read, places, deeplab2.part_of, tuple(ignored))


def _read_pytorch(model: KMaX, path: str) -> Source:
    _check_exists(path)
    state = read_state(path)
    full = pytorch.with_full_names(state)
    shapes = {key: value.shape for key, value in full.items() if pytorch.part_of(key)}
    places = pytorch.places(model)
    if not {place.key for place in places.values()} & set(shapes):
        raise CheckpointError(
            f"{path} holds no kMaX-DeepLab or its backbone: its keys are such as "
            f"{', '.join(list(state)[:3])}"
        )
    left = [key for key in state if key not in shapes and f"backbone.{key}" not in shapes]
    return Source(
        "pytorch", shapes, lambda key: full[key], places, pytorch.part_of, tuple(left), True
    )


def _read_keras(model: KMaX, path: str) -> Source:
    if path != keras_weights.IMAGENET:
        _check_exists(path)
    values, ignored = keras_weights.read_backbone(model, path)
    return Source(
        "keras",
        {name: value.shape for name, value in values.items()},
        lambda name: values[name],
        {name: Place(name, value.shape) for name, value in values.items()},
        lambda name: "backbone",
        tuple(ignored),
    )


def _check_exists(path: str) -> None:
    if not os.path.isfile(path):
        raise CheckpointError(f"there is no file {path}")


_PARTS = ("backbone", "pixel_decoder", "transformer_decoder", "heads", "semantic_branch")

FORMATS: dict[str, Callable[[KMaX, str], Source]] = {
    "deeplab2": _read_deeplab2,
    "pytorch": _read_pytorch,
    "keras": _read_keras,
}
