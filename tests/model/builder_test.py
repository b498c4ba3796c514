"""What the builder doesn't copy by name reaches the layer that it is for."""

from __future__ import annotations

import types

import pytest

import kmax_tf
from kmax_tf.model import builder

FIELDS = {
    "resnet.stem_channels=8": (lambda p: p.backbone.stem.conv.filters, 8),
    "resnet.activation=GELU": (
        lambda p: p.backbone.stages[1].blocks[2].options.activation,
        builder.ACTIVATIONS["gelu"],
    ),
    "resnet.max_pool=true": (
        lambda p: (p.backbone.max_pool is not None, p.backbone.stages[0].blocks[0].stride),
        (True, 1),
    ),
    "resnet.stages[1].first_block_type=AXIAL": (
        lambda p: [block.options.axial for block in p.backbone.stages[1].blocks],
        [True, False, False, False],
    ),
    "resnet.stages[3].block_type=AXIAL": (
        lambda p: [block.options.axial for block in p.backbone.stages[3].blocks],
        [True, True, True],
    ),
    "resnet.drop_path_keep_prob=0.5": (
        lambda p: p.backbone.stages[3].blocks[2].drop_path.keep_prob,
        0.5,
    ),
    "pixel_decoder.dilation=3": (
        lambda p: [p.pixel_decoder.stages[i].blocks[0].options.dilation for i in (2, 3)],
        [3, 3],
    ),
    "transformer_decoder.num_centers=64": (lambda p: p.transformer_decoder.num_centers, 64),
    "transformer_decoder.block_strides=[32, 8]": (
        lambda p: p.transformer_decoder.block_strides,
        (32, 8),
    ),
    "semantic_decoder.channels=64": (
        lambda p: p.semantic_branch.fusions[0].pointwise.conv.filters,
        64,
    ),
    "semantic_decoder.aspp_channels=64": (
        lambda p: p.semantic_branch.aspp.projection.conv.filters,
        64,
    ),
    "semantic_decoder.atrous_rates=[2, 5]": (
        lambda p: [conv.conv.dilation_rate[0] for conv in p.semantic_branch.aspp.atrous],
        [2, 5],
    ),
    "semantic_decoder.dropout=0.5": (lambda p: p.semantic_branch.aspp.dropout.rate, 0.5),
}
RECOMPUTE = "runtime.recompute_blocks=true"


def build_parts(*overrides):
    """Builds the parts of a model, but doesn't connect them."""
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto", overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "KMaX", types.SimpleNamespace)
        return builder.build_model(experiment)


@pytest.fixture(scope="module")
def published():
    return build_parts()


@pytest.fixture(scope="module")
def changed():
    """All fields changed together: each shows in another place."""
    return build_parts(*(f"model.{field}" for field in FIELDS), RECOMPUTE)


@pytest.mark.parametrize("field", FIELDS)
def test_field_reaches_its_layer(published, changed, field):
    read, expected = FIELDS[field]
    assert read(published) != expected
    assert read(changed) == expected


def test_blocks_are_recomputed_if_asked(published, changed):
    for parts, asked in ((published, False), (changed, True)):
        stages = [*parts.backbone.stages, *parts.pixel_decoder.stages]
        assert [stage.recompute_blocks for stage in stages] == [asked] * 8
