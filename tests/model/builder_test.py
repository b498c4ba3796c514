"""What the builder doesn't copy by name reaches the layer that it is for."""

from __future__ import annotations

import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.model import builder
from kmax_tf.model.backbones.resnet import ThreeConvStem
from kmax_tf.model.semantic_branch import SemanticDecoder, SemanticHead
from kmax_tf.protos import model_pb2


def build_parts(experiment):
    """Builds the parts of a model, but doesn't connect them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "KMaX", _Parts)
        return builder.build_model(experiment)


class _Parts(dict):
    """The parts of a model by name."""


def load(*overrides, path="coco/resnet50.textproto"):
    return kmax_tf.load_experiment(path, overrides)


FIELDS = {
    "resnet.stem_channels=8": (lambda p: p["backbone"].stem.conv.filters, 8),
    "resnet.activation=GELU": (
        lambda p: p["backbone"].stages[1].blocks[2].options.activation,
        builder.ACTIVATIONS["gelu"],
    ),
    "resnet.max_pool=true": (
        lambda p: (p["backbone"].max_pool is not None, p["backbone"].stages[0].blocks[0].stride),
        (True, 1),
    ),
    "resnet.stages[1].first_block_type=AXIAL": (
        lambda p: [block.options.axial for block in p["backbone"].stages[1].blocks],
        [True, False, False, False],
    ),
    "resnet.stages[3].block_type=AXIAL": (
        lambda p: [block.options.axial for block in p["backbone"].stages[3].blocks],
        [True, True, True],
    ),
    "resnet.drop_path_keep_prob=0.5": (
        lambda p: p["backbone"].stages[3].blocks[2].drop_path.keep_prob,
        0.5,
    ),
    "pixel_decoder.dilation=3": (
        lambda p: [p["pixel_decoder"].stages[i].blocks[0].options.dilation for i in (2, 3)],
        [3, 3],
    ),
    "transformer_decoder.num_centers=64": (lambda p: p["transformer_decoder"].num_centers, 64),
    "transformer_decoder.block_strides=[32, 8]": (
        lambda p: p["transformer_decoder"].block_strides,
        (32, 8),
    ),
    "semantic_decoder.channels=64": (
        lambda p: p["semantic_branch"].fusions[0].pointwise.conv.filters,
        64,
    ),
    "semantic_decoder.aspp_channels=64": (
        lambda p: p["semantic_branch"].aspp.projection.conv.filters,
        64,
    ),
    "semantic_decoder.atrous_rates=[2, 5]": (
        lambda p: [conv.conv.dilation_rate[0] for conv in p["semantic_branch"].aspp.atrous],
        [2, 5],
    ),
    "semantic_decoder.dropout=0.5": (lambda p: p["semantic_branch"].aspp.dropout.rate, 0.5),
}


@pytest.fixture(scope="module")
def published():
    return build_parts(load())


@pytest.fixture(scope="module")
def changed():
    """All fields changed together: each shows in another place."""
    return build_parts(load(*(f"model.{field}" for field in FIELDS)))


@pytest.mark.parametrize("field", FIELDS)
def test_field_reaches_its_layer(published, changed, field):
    read, expected = FIELDS[field]
    assert read(published) != expected
    assert read(changed) == expected


def test_published_max_s():
    """Blocks whose input has stride 16 or more are axial."""
    backbone = build_parts(load(path="coco/max_s.textproto"))["backbone"]
    assert isinstance(backbone.stem, ThreeConvStem)
    assert backbone.stem.conv3.conv.filters == 128
    axial = [[block.options.axial for block in stage.blocks] for stage in backbone.stages]
    assert axial == [[False] * 3, [False] * 4, [False] + [True] * 5, [True] * 3]
    options = [block.options for stage in backbone.stages for block in stage.blocks]
    assert {option.activation for option in options} == {builder.ACTIVATIONS["gelu"]}
    assert {(option.num_heads, option.max_span) for option in options} == {(8, 255)}
    keep_probs = [[b.drop_path.keep_prob for b in stage.blocks] for stage in backbone.stages]
    expected = [[1.0] * 3, [1.0] * 4, [1.0] + [0.85] * 5, [0.85, 0.8, 0.8]]
    assert keep_probs == [pytest.approx(row) for row in expected]


def test_convolutions_of_the_backbone_are_not_dilated(published):
    stages = published["backbone"].stages
    assert {block.options.dilation for stage in stages for block in stage.blocks} == {1}


RELU, GELU = builder.ACTIVATIONS["relu"], builder.ACTIVATIONS["gelu"]


@pytest.mark.parametrize(
    ("path", "value", "features", "skips"),
    [
        ("coco/resnet50.textproto", "SEMANTIC_SKIPS", None, RELU),
        ("coco/max_s.textproto", "SEMANTIC_SKIPS", None, GELU),
        ("coco/convnext_tiny.textproto", "SEMANTIC_SKIPS", None, GELU),
        ("pytorch/coco_resnet50.textproto", "ALL", RELU, tf.identity),
        ("pytorch/coco_convnext_tiny.textproto", "NONE", None, tf.identity),
    ],
)
def test_activated_features(path, value, features, skips):
    experiment = load(path=path)
    assert model_pb2.ActivatedFeatures.Name(experiment.model.activated_features) == value
    parts = build_parts(experiment)
    assert parts["feature_activation"] == features
    assert parts["semantic_branch"].activation == skips


def test_published_pixel_decoder(published):
    decoder = published["pixel_decoder"]
    options = [stage.blocks[0].options for stage in decoder.stages]
    assert [option.filters for option in options] == [512, 256, 128, 64]
    assert [option.axial for option in options] == [True, True, False, False]
    assert [option.dilation for option in options[2:]] == [2, 2]
    assert [len(stage.blocks) for stage in decoder.stages] == [1, 5, 1, 1]


def test_semantic_branches(published):
    branch = published["semantic_branch"]
    assert isinstance(branch, SemanticDecoder)
    assert branch.low_level_strides == [8, 4]
    assert branch.last_conv.filters == 134
    experiment = load()
    experiment.model.semantic_head.channels = 32
    head = build_parts(experiment)["semantic_branch"]
    assert type(head) is SemanticHead
    assert head.separable_conv.pointwise.conv.filters == 32
    experiment.model.ClearField("semantic_head")
    assert build_parts(experiment)["semantic_branch"] is None
