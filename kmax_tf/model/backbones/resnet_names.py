"""What public checkpoints call the variables of ResNet."""

from __future__ import annotations

import re

from kmax_tf.model.backbones.names import PublicNames, stage_index

_BLOCK = r"^backbone/stage_stride(\d+)/block(\d+)/"
_KERAS_LAYERS = {"conv": "conv", "bn": "batch_norm"}


def _keras_block(match: re.Match[str]) -> str:
    part = "shortcut" if match[3] == "0" else f"conv{match[3]}"
    block = f"backbone/stage_stride{2 ** int(match[1])}/block{match[2]}"
    return f"{block}/{part}/{_KERAS_LAYERS[match[4]]}/{match[5]}"


NAMES = PublicNames(
    deeplab2=(
        (r"^backbone/stem", "encoder/_stem"),
        (_BLOCK, lambda m: f"encoder/_stage{stage_index(m) + 2}/_block{m[2]}/"),
    ),
    pytorch=(
        (r"^backbone/stem/conv/", "backbone.stem.conv1/"),
        (r"^backbone/stem/batch_norm/", "backbone.stem.conv1.norm/"),
        (_BLOCK, lambda m: f"backbone.res{stage_index(m) + 2}.{int(m[2]) - 1}."),
        # detectron2's convolutions hold their normalization.
        (r"^(backbone\.res.*)/conv/", r"\1/"),
        (r"^(backbone\.res.*)/batch_norm/", r"\1.norm/"),
    ),
    keras=(
        (r"conv1_(conv|bn)/(\w+)", lambda m: f"backbone/stem/{_KERAS_LAYERS[m[1]]}/{m[2]}"),
        (r"conv(\d)_block(\d+)_(\d)_(conv|bn)/(\w+)", _keras_block),
    ),
)
