"""ImageNet weights of keras.applications, for our backbones.

ConvNeXt is the same network, and its weights are taken as they are, as in the published training
(whose images are scaled to -1..1, not by ImageNet's mean and deviation). ResNet-50 is a start, not
the same function: Keras' has its strides in other convolutions. What can be made equal is: biases
and another epsilon go into the normalizations, and the first convolution takes RGB in -1..1, not
BGR around ImageNet's mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

import h5py
import numpy as np

from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.backbone import Backbone
from kmax_tf.model.kmax import KMaX
from kmax_tf.model.layers import ConvBN

_EPSILON = 1.001e-5  # of keras.applications' ResNet
_MEAN = np.array([123.68, 116.779, 103.939])  # RGB, subtracted by its preprocessing
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

Weights = dict[str, np.ndarray]

IMAGENET = "imagenet"


def read_backbone(model: KMaX, path: str) -> tuple[Weights, list[str]]:
    """Reads an .h5 file of keras.applications, or downloads one the standard way.

    Args:
      model: with the backbone that the weights are for.
      path: of the file, with or without the classifier; "imagenet" downloads it.

    Returns:
      Values by our variables' names, in our layout, and the names of what is left.

    Raises:
      CheckpointError: the file is damaged, of another network, or cannot be downloaded.
    """
    weights = _download(model) if path == IMAGENET else _read_file(path)
    names = {name: _our_name(name, model.backbone) for name in weights}
    values = {ours: weights[name] for name, ours in names.items() if ours is not None}
    ignored = [name for name, ours in names.items() if ours is None]
    if not values:
        raise CheckpointError(
            f"{path} holds no {model.backbone.title} of keras.applications: its weights are such "
            f"as {', '.join(list(weights)[:3]) or 'none'}"
        )
    if "backbone/stem/conv/kernel" in values:
        stem = model.backbone.stem
        if not isinstance(stem, ConvBN):
            raise CheckpointError(f"{path} is of a ResNet-50; the backbone has another stem")
        return _as_our_resnet(values, stem.batch_norm.epsilon), ignored
    for name, value in values.items():
        if name.endswith("/depthwise_kernel"):  # of a grouped convolution, [7, 7, 1, C]
            values[name] = value.reshape(*value.shape[:2], -1, 1)
    return values, ignored


def _download(model: KMaX) -> Weights:
    """Returns the ImageNet weights of a model's backbone by "layer/weight"."""
    name = model.backbone.keras_application
    if name is None:
        raise CheckpointError(
            f"keras.applications has no ImageNet weights of this backbone, {model.backbone.title}, "
            "only of ResNet-50 and of ConvNeXt-T, -S, -B and -L; give the path of a checkpoint "
            "instead of 'imagenet'"
        )
    try:
        network = getattr(keras.applications, name)(include_top=False, weights=IMAGENET)
    except Exception as error:
        raise CheckpointError(
            f"cannot download the ImageNet weights of {name}: {error}. Without a network, give the "
            "path of the file (..._notop.h5) instead of 'imagenet'"
        ) from error
    return {_last_two(weight.name): weight.numpy() for weight in network.weights}


def _read_file(path: str) -> Weights:
    """Returns the weights of a file by "layer/weight"."""
    weights: Weights = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            weights[_last_two(name)] = np.asarray(item)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from error
    return weights


def _last_two(name: str) -> str:
    """Returns "layer/weight" of a path that ends in it."""
    return "/".join(name.split(":", maxsplit=1)[0].split("/")[-2:])


def _our_name(name: str, backbone: Backbone) -> Optional[str]:
    """Returns our name of "layer/weight", None for what the backbone doesn't have."""
    for pattern, replacement in backbone.names.keras:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def _as_our_resnet(values: Mapping[str, np.ndarray], epsilon: float) -> Weights:
    """Moves biases, epsilon and the preprocessing into kernels and normalizations."""
    result: Weights = {}
    for name in [name for name in values if name.endswith("/conv/kernel")]:
        layer = name.removesuffix("/conv/kernel")
        kernel = values[name].astype(np.float64)
        shift = values.get(f"{layer}/conv/bias", np.zeros(kernel.shape[-1])).astype(np.float64)
        scale = 1.0
        if layer == "backbone/stem":
            # 127.5 (x + 1) - mean goes into the convolution, x being our input.
            kernel, scale = kernel[:, :, ::-1], 127.5
            shift = shift + np.einsum("hwio,i->o", kernel, 127.5 - _MEAN)
        gamma, beta, mean, variance = (
            values[f"{layer}/batch_norm/{part}"].astype(np.float64) for part in _NORM
        )
        new_mean, new_variance = (mean - shift) / scale, variance / scale**2
        gamma = gamma * np.sqrt((new_variance + epsilon) * scale**2 / (variance + _EPSILON))
        result[name] = kernel.astype(np.float32)
        for part, value in zip(_NORM, (gamma, beta, new_mean, new_variance)):
            result[f"{layer}/batch_norm/{part}"] = value.astype(np.float32)
    return result
