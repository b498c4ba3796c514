"""What people call a backbone, and which network of keras.applications it is."""

from __future__ import annotations

import pytest

import kmax_tf
from kmax_tf.config import shipped_experiments
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.builder import build_backbone
from tests.options import with_defaults

NAMES = {
    "resnet50": ("ResNet-50", "ResNet50"),
    "max_s": ("MaX-S", None),
    "convnext_tiny": ("ConvNeXt-T", "ConvNeXtTiny"),
    "convnext_small": ("ConvNeXt-S", "ConvNeXtSmall"),
    "convnext_base": ("ConvNeXt-B", "ConvNeXtBase"),
    "convnext_large": ("ConvNeXt-L", "ConvNeXtLarge"),
    "shapes/": ("ResNet 1-1-1-1", None),
}


def names_of(path: str, *overrides: str) -> tuple[str, str | None]:
    options = kmax_tf.load_experiment(path, overrides).model
    backbone = build_backbone(options, with_defaults(BatchNormFactory))
    return backbone.title, backbone.keras_application


@pytest.mark.parametrize("path", shipped_experiments())
def test_shipped_backbones_have_the_names_of_their_files(path: str) -> None:
    (expected,) = (names for word, names in NAMES.items() if word in path)
    assert names_of(path) == expected


def test_others_are_told_by_their_blocks() -> None:
    blocks = "model.convnext={blocks: [3, 3, 9, 4] channels: [96, 192, 384, 768]}"
    assert names_of("coco/convnext_tiny.textproto", blocks) == ("ConvNeXt 3-3-9-4", None)
    stem = "model.resnet.stem=THREE_CONV_3X3"
    assert names_of("coco/resnet50.textproto", stem) == ("ResNet-50", None)
