"""What people call a backbone, and which network of keras.applications it is."""

from __future__ import annotations

import pytest

import kmax_tf
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.builder import build_backbone
from tests.options import with_defaults

BLOCKS = "model.convnext={blocks: [3, 3, 9, 4] channels: [96, 192, 384, 768]}"


@pytest.mark.parametrize(
    ("name", "overrides", "title", "application"),
    [
        ("resnet50", [], "ResNet-50", "ResNet50"),
        ("resnet50", ["model.resnet.stem=THREE_CONV_3X3"], "ResNet-50", None),
        ("resnet50", ["model.resnet.stages[0].blocks=4"], "ResNet 4-4-6-3", None),
        ("max_s", [], "MaX-S", None),
        ("convnext_tiny", [], "ConvNeXt-T", "ConvNeXtTiny"),
        ("convnext_tiny", [BLOCKS], "ConvNeXt 3-3-9-4", None),
        ("convnext_small", [], "ConvNeXt-S", "ConvNeXtSmall"),
        ("convnext_base", [], "ConvNeXt-B", "ConvNeXtBase"),
        ("convnext_large", [], "ConvNeXt-L", "ConvNeXtLarge"),
    ],
)
def test_names(name: str, overrides: list[str], title: str, application: str | None) -> None:
    options = kmax_tf.load_experiment(f"coco/{name}.textproto", overrides).model
    backbone = build_backbone(options, with_defaults(BatchNormFactory))
    assert (backbone.title, backbone.keras_application) == (title, application)
