"""What public checkpoints call the variables of ConvNeXt."""

from __future__ import annotations

import re

from kmax_tf.model.backbones.names import PublicNames, stage_index

_DOWNSAMPLE = r"^backbone/downsample_stride(\d+)/(norm|conv)"
_PART = r"^backbone/stage_stride(\d+)/block(\d+)/"
_PART += r"(depthwise_conv|norm|expansion|projection|layer_scale)"
_DEEPLAB2_PARTS = {"expansion": "pointwise_conv1", "projection": "pointwise_conv2"}
_PYTORCH_PARTS = {
    "depthwise_conv": "dwconv",
    "expansion": "pwconv1",
    "projection": "pwconv2",
    "layer_scale": "gamma",
}
_KERAS_LAYERS = {"conv": "conv", "layernorm": "norm"}
_KERAS_PARTS = {
    r"layer_scale/\w+": "layer_scale",
    "depthwise_conv/kernel": "depthwise_conv/depthwise_kernel",
    "depthwise_conv/bias": "depthwise_conv/bias",
    "layernorm/gamma": "norm/gamma",
    "layernorm/beta": "norm/beta",
    "pointwise_conv_1/kernel": "expansion/kernel",
    "pointwise_conv_1/bias": "expansion/bias",
    "pointwise_conv_2/kernel": "projection/kernel",
    "pointwise_conv_2/bias": "projection/bias",
}


def _in_downsample(match: re.Match[str]) -> int:
    """Returns which of the two layers it is, in the order in which they are applied."""
    return int((match[2] == "norm") == (stage_index(match) == 0))


def _deeplab2_part(match: re.Match[str]) -> str:
    part = _DEEPLAB2_PARTS.get(match[3], match[3])
    slash = "/" if match[4] else ""  # its depthwise convolution is a grouped one: "kernel"
    index, block = stage_index(match), int(match[2]) - 1
    return f"encoder/stages/{index}/layer_with_weights-{block}/{part}{slash}"


def _pytorch_part(match: re.Match[str]) -> str:
    part = _PYTORCH_PARTS.get(match[3], match[3])
    return f"backbone.stages.{stage_index(match)}.{int(match[2]) - 1}.{part}"


def _keras_part(match: re.Match[str]) -> str:
    part = _KERAS_PARTS.get(match[3], "layer_scale")
    return f"backbone/stage_stride{4 << int(match[1])}/block{int(match[2]) + 1}/{part}"


NAMES = PublicNames(
    deeplab2=(
        (
            _DOWNSAMPLE,
            lambda m: (
                f"encoder/downsample_layers/{stage_index(m)}/layer_with_weights-{_in_downsample(m)}"
            ),
        ),
        (rf"{_PART}(/depthwise_(?=kernel))?", _deeplab2_part),
    ),
    pytorch=(
        (
            _DOWNSAMPLE,
            lambda m: f"backbone.downsample_layers.{stage_index(m)}.{_in_downsample(m)}",
        ),
        (_PART, _pytorch_part),
    ),
    keras=(
        (
            r"convnext_\w+?_stem_(conv|layernorm)/(\w+)",
            lambda m: f"backbone/downsample_stride4/{_KERAS_LAYERS[m[1]]}/{m[2]}",
        ),
        (
            r"convnext_\w+?_downsampling_(conv|layernorm)_(\d)/(\w+)",
            lambda m: f"backbone/downsample_stride{8 << int(m[2])}/{_KERAS_LAYERS[m[1]]}/{m[3]}",
        ),
        (rf"convnext_\w+?_stage_(\d)_block_(\d+)_({'|'.join(_KERAS_PARTS)})", _keras_part),
    ),
)
