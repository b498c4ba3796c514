"""Every field of an experiment's model reaches the layer it names; parameters are counted."""

from __future__ import annotations

import pathlib

import pytest

import kmax_tf
from kmax_tf.model import builder
from kmax_tf.model.semantic_branch import SemanticDecoder, SemanticHead

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
# Experiment: (variables, parameters, of these trainable).
COUNTS = {
    "shapes/laptop.textproto": (678, 1_272_688, 1_250_070),
}
# Built and counted where its outputs are tested, as building it takes a while.
COUNTED_ELSEWHERE = {"coco/resnet50.textproto"}


def test_every_experiment_is_counted():
    files = {str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("*/*.textproto")}
    bases = {name for name in files if name.endswith("/base.textproto")}
    datasets = {name for name in files if name.startswith("datasets/")}
    assert files - bases - datasets == set(COUNTS) | COUNTED_ELSEWHERE


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    model = kmax_tf.build_model(kmax_tf.load_experiment(name))

    def count(variables):
        return sum(variable.shape.num_elements() for variable in variables)

    found = len(model.variables), count(model.variables), count(model.trainable_variables)
    assert found == COUNTS[name]


def build_parts(experiment):
    """Builds the parts of a model, but doesn't connect them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "KMaX", _Parts)
        return builder.build_model(experiment)


class _Parts(dict):
    """The parts of a model by name."""


def load(*overrides):
    return kmax_tf.load_experiment("coco/resnet50.textproto", overrides)


def block_heads(parts):
    return parts["transformer_decoder"].blocks[0].heads


def axis(parts):
    return parts["pixel_decoder"].stages[0].blocks[0].attention.height_axis


FIELDS = {
    "resnet.stem_channels=8": (lambda p: p["backbone"].stem.conv.filters, 8),
    "resnet.activation=GELU": (lambda p: p["backbone"].activation, builder.ACTIVATIONS["gelu"]),
    "resnet.drop_path_keep_prob=0.5": (
        lambda p: p["backbone"].stages[3].blocks[2].drop_path.keep_prob,
        0.5,
    ),
    "pixel_decoder.axial_attention.num_heads=4": (lambda p: axis(p).num_heads, 4),
    "pixel_decoder.axial_attention.max_span=99": (lambda p: axis(p).max_span, 99),
    "transformer_decoder.num_centers=64": (lambda p: p["transformer_decoder"].num_centers, 64),
    "transformer_decoder.block_strides=[32, 8]": (
        lambda p: p["transformer_decoder"].block_strides,
        (32, 8),
    ),
    "transformer_decoder.channels=64": (lambda p: p["transformer_decoder"].channels, 64),
    "transformer_decoder.key_channels=64": (
        lambda p: p["transformer_decoder"].blocks[0].self_attention.options.key_channels,
        64,
    ),
    "transformer_decoder.value_channels=64": (
        lambda p: p["transformer_decoder"].blocks[0].self_attention.options.value_channels,
        64,
    ),
    "transformer_decoder.num_heads=4": (
        lambda p: p["transformer_decoder"].blocks[0].self_attention.options.num_heads,
        4,
    ),
    "transformer_decoder.ffn_channels=64": (
        lambda p: p["transformer_decoder"].blocks[0].ffn_hidden.dense.units,
        64,
    ),
    "transformer_decoder.drop_path_keep_prob=0.5": (
        lambda p: p["transformer_decoder"].blocks[1].drop_paths[2].keep_prob,
        0.5,
    ),
    "heads.kernel_size=3": (
        lambda p: p["heads"].pixel_head.separable_conv.depthwise.conv.kernel_size,
        (3, 3),
    ),
    "heads.channels=64": (
        lambda p: block_heads(p).pixel_head.separable_conv.pointwise.conv.filters,
        64,
    ),
    "heads.embedding_channels=64": (lambda p: p["heads"].pixel_head.last_conv.filters, 64),
    "heads.void_prior=0.5": (
        lambda p: p["heads"].class_head.prior[-1],
        pytest.approx(4.8903, abs=1e-3),
    ),
    "heads.mask_logit_scale=0.5": (
        lambda p: p["heads"].mask_head.batch_norm.gamma_initializer.value,
        0.5,
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
    "batch_norm.momentum=0.5": (lambda p: p["backbone"].stem.batch_norm.momentum, 0.5),
    "batch_norm.epsilon=0.5": (lambda p: p["heads"].mask_head.batch_norm.epsilon, 0.5),
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
