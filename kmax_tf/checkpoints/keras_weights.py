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
from kmax_tf.model.backbones.convnext import ConvNeXt
from kmax_tf.model.kmax import KMaX
from kmax_tf.model.layers import ConvBN

_EPSILON = 1.001e-5  # of keras.applications' ResNet
_MEAN = np.array([123.68, 116.779, 103.939])  # RGB, subtracted by its preprocessing
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

Weights = dict[str, np.ndarray]

IMAGENET = "imagenet"
_RESNET50 = (3, 4, 6, 3)
# Blocks, and width of the first stage, of the ConvNeXts that keras.applications has.
_CONVNEXTS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "ConvNeXtTiny",
    ((3, 3, 27, 3), 96): "ConvNeXtSmall",
    ((3, 3, 27, 3), 128): "ConvNeXtBase",
    ((3, 3, 27, 3), 192): "ConvNeXtLarge",
}


def read_backbone(model: KMaX, path: str) -> tuple[Weights, list[str]]:
    """Reads an .h5 file of keras.applications, or downloads one the standard way.

    Args:
      model: with the backbone that the weights are for.
      path: of the file, with or without the classifier; "imagenet" downloads it.

    Returns:
      Values by our variables' names, in our layout, and the names of what is left.

    Raises:
      CheckpointError: the file is damaged, not of a ResNet or ConvNeXt, or cannot be downloaded.
    """
    weights = _download(model) if path == IMAGENET else _read_file(path)
    names = {name: _our_name(name) for name in weights}
    values = {ours: weights[name] for name, ours in names.items() if ours is not None}
    ignored = [name for name, ours in names.items() if ours is None]
    if not values:
        raise CheckpointError(
            f"{path} holds no ResNet or ConvNeXt of keras.applications: its weights are such as "
            f"{', '.join(list(weights)[:3]) or 'none'}"
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
    name = _application(model.backbone)
    if name is None:
        raise CheckpointError(
            "keras.applications has no ImageNet weights of this backbone, only of ResNet-50 and of "
            "ConvNeXt-T, -S, -B and -L; give the path of a checkpoint instead of 'imagenet'"
        )
    try:
        network = getattr(keras.applications, name)(include_top=False, weights=IMAGENET)
    except Exception as error:
        raise CheckpointError(
            f"cannot download the ImageNet weights of {name}: {error}. Without a network, give the "
            "path of the file (..._notop.h5) instead of 'imagenet'"
        ) from error
    return {_last_two(weight.name): weight.numpy() for weight in network.weights}


def _application(backbone: keras.layers.Layer) -> Optional[str]:
    """Returns the constructor in keras.applications of the same network, None if there is none."""
    blocks = tuple(len(stage.blocks) for stage in backbone.stages)
    if isinstance(backbone, ConvNeXt):
        return _CONVNEXTS.get((blocks, backbone.stages[0].blocks[0].channels))
    plain = isinstance(backbone.stem, ConvBN) and blocks == _RESNET50
    return "ResNet50" if plain and backbone.stages[0].blocks[0].options.filters == 64 else None


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


def _our_name(name: str) -> Optional[str]:
    """Returns our name of "layer/weight", None for what a backbone doesn't have."""
    layer, _, weight = name.partition("/")
    if match := re.fullmatch(r"conv1_(conv|bn)", layer):
        return f"backbone/stem/{_conv_or_norm(match[1])}/{weight}"
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        part = "shortcut" if match[3] == "0" else f"conv{match[3]}"
        stage = f"stage_stride{2 ** int(match[1])}/block{match[2]}"
        return f"backbone/{stage}/{part}/{_conv_or_norm(match[4])}/{weight}"
    if match := re.fullmatch(r"convnext_\w+?_stem_(conv|layernorm)", layer):
        return f"backbone/downsample_stride4/{_conv_or_norm(match[1])}/{weight}"
    if match := re.fullmatch(r"convnext_\w+?_downsampling_(conv|layernorm)_(\d)", layer):
        return f"backbone/downsample_stride{8 << int(match[2])}/{_conv_or_norm(match[1])}/{weight}"
    if match := re.fullmatch(r"convnext_\w+?_stage_(\d)_block_(\d+)_(\w+)", layer):
        block = f"backbone/stage_stride{4 << int(match[1])}/block{int(match[2]) + 1}"
        return _in_convnext_block(block, match[3], weight)
    return None


def _in_convnext_block(block: str, part: str, weight: str) -> Optional[str]:
    if part == "layer_scale":
        return f"{block}/layer_scale"
    if part == "depthwise_conv" and weight == "kernel":
        return f"{block}/depthwise_conv/depthwise_kernel"
    names = {
        "depthwise_conv": "depthwise_conv",
        "layernorm": "norm",
        "pointwise_conv_1": "expansion",
        "pointwise_conv_2": "projection",
    }
    return f"{block}/{names[part]}/{weight}" if part in names else None


def _conv_or_norm(kind: str) -> str:
    return {"conv": "conv", "bn": "batch_norm", "layernorm": "norm"}[kind]


def _as_our_resnet(values: Mapping[str, np.ndarray], epsilon: float) -> Weights:
    """Moves biases, epsilon and the preprocessing into kernels and normalizations."""
    result: Weights = {}
    for name in [name for name in values if name.endswith("/conv/kernel")]:
        layer = name[: -len("/conv/kernel")]
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
