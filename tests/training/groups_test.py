"""Which variables learn at which rate, and which decay, on the real models."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.model.batch_norm import BatchNorm
from kmax_tf.training.builder import build_optimizer, group_options
from kmax_tf.training.groups import build_groups
from tests.training.tiny import tiny_experiment

CONVNEXT = "model.convnext={blocks: [2, 1, 3, 1] channels: [8, 8, 16, 16]}"
PUBLISHED = ["training.optimizer.backbone_multiplier=0.25", "training.optimizer.clip_norm=0"]


def build(*overrides: str):
    experiment = tiny_experiment(*PUBLISHED, *overrides)
    return experiment, kmax_tf.build_model(experiment)


@pytest.fixture(scope="module")
def resnet():
    return build("model.resnet.stages[2].blocks=3")


@pytest.fixture(scope="module")
def convnext():
    return build(CONVNEXT)


def options(*overrides: str):
    return group_options(tiny_experiment(*PUBLISHED, *overrides).training.optimizer)


def leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]


def test_decayed_variables_are_exactly_the_kernels(resnet) -> None:
    """With no gradient, a step changes what decays, and nothing else."""
    _, model = resnet
    experiment = tiny_experiment(
        *PUBLISHED,
        "training.optimizer.learning_rate=0.5",
        "training.optimizer.adamw.weight_decay=0.5",
    )
    optimizer = build_optimizer(experiment, model)
    trained = model.trainable_variables
    before = [variable.numpy() for variable in trained]
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in trained])
    backbone = {id(variable) for variable in model.backbone.trainable_variables}
    kernels = 0
    for variable, old in zip(trained, before):
        is_kernel = leaf(variable.name) in ("kernel", "depthwise_kernel", "qkv_kernel")
        rate = 0.5 * (0.25 if id(variable) in backbone else 1.0)
        factor = 1 - rate * 0.5 if is_kernel else 1.0
        np.testing.assert_allclose(variable, old * factor, rtol=1e-5, err_msg=variable.name)
        kernels += is_kernel
    assert kernels > 50
    for variable, old in zip(trained, before):
        variable.assign(old)


@pytest.mark.parametrize(
    ("field", "leaves"),
    [
        ("biases", {"bias"}),
        ("normalizations", {"gamma", "beta"}),
        ("position_tables", {"query_positions", "key_positions", "value_positions"}),
        ("cluster_centers", {"cluster_centers"}),
        ("layer_scales", {"layer_scale"}),
    ],
)
def test_each_kind_of_variable_decays_if_asked(convnext, field: str, leaves: set[str]) -> None:
    _, model = convnext
    asked = f"training.optimizer.decayed={{kernels: false {field}: true}}"
    decayed = build_groups(options(asked), model).decayed
    expected = {v.name for v in model.trainable_variables if leaf(v.name) in leaves}
    assert decayed == expected
    assert decayed


def test_names_of_variables_are_unique_and_normalizations_are_found(resnet, convnext) -> None:
    """Rates, decay, gradients and the values of moving statistics go by name."""
    for _, model in (resnet, convnext):
        names = [variable.name for variable in model.variables]
        assert len(set(names)) == len(names)
        norms = [layer for layer in model.submodules if isinstance(layer, BatchNorm)]
        moving = {v.name for norm in norms for v in (norm.moving_mean, norm.moving_variance)}
        assert moving == {variable.name for variable in model.non_trainable_variables}


def test_each_part_has_its_rate(resnet) -> None:
    _, model = resnet
    parts = {"pixel_decoder": 0.5, "transformer_decoder": 2.0, "heads": 3.0, "semantic_branch": 4.0}
    fields = [f"training.optimizer.{name}_multiplier={rate}" for name, rate in parts.items()]
    rates = build_groups(options(*fields), model).rates
    for name, rate in {**parts, "backbone": 0.25}.items():
        layer = model.checkpoint_items[name]
        assert {rates[variable.name] for variable in layer.trainable_variables} == {rate}
    assert len(rates) == len(model.trainable_variables)


@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_blocks_of_the_backbone_learn_the_slower_the_nearer_to_the_image(family, request) -> None:
    _, model = request.getfixturevalue(family)
    rates = build_groups(options("training.optimizer.backbone_layer_decay=0.5"), model).rates
    counts = {"resnet": (1, 1, 3, 1), "convnext": (2, 1, 3, 1)}[family]
    stem = "backbone/downsample_stride4/" if family == "convnext" else "backbone/stem/"
    expected = {stem: 0}
    depth = 0
    for stride, count in zip((4, 8, 16, 32), counts):
        if stride > 4:
            expected[f"backbone/downsample_stride{stride}/"] = depth + 1
        for block in range(1, count + 1):
            depth += 1
            expected[f"backbone/stage_stride{stride}/block{block}/"] = depth
    seen = set()
    for variable in model.backbone.trainable_variables:
        (prefix,) = [prefix for prefix in expected if variable.name.startswith(prefix)]
        seen.add(expected[prefix])
        rate = 0.25 * 0.5 ** (depth - expected[prefix])
        assert rates[variable.name] == pytest.approx(rate), variable.name
    assert seen == set(range(depth + 1))
    assert len(model.backbone.layers_by_depth()) == depth + 1
