"""Foreign checkpoints as their publishers write them, of weights that are known."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.checkpoints import deeplab2
from kmax_tf.checkpoints.exporter import write_state
from kmax_tf.checkpoints.places import variable_names
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.keras_api import keras
from tests.golden import pytorch_weights_recipe, recordings, weights_recipe
from tests.model.building import build_with_zeros

COUNTERS = ("global_step", "save_counter", "optimizer/iter")


def write_tensorflow(prefix, weights, counters=COUNTERS):
    """Writes what a training run of the public implementation leaves, an optimizer's state too."""
    values = {**weights}
    values.update({key + recordings.SUFFIX: np.int64(7) for key in counters})
    some = next(key for key in weights if key.endswith("kernel" + recordings.SUFFIX))
    slot = some.replace(recordings.SUFFIX, "/.OPTIMIZER_SLOT/optimizer/m" + recordings.SUFFIX)
    values[slot] = weights[some]
    keys = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=keys,
        shape_and_slices=[""] * len(keys),
        tensors=[tf.constant(values[key]) for key in keys],
    )
    return str(prefix)


def pytorch_state(model_name):
    """The state_dict of a whole public PyTorch model: weights are a recipe."""
    return {
        row.theirs: pytorch_weights_recipe.weight(row.theirs, row.their_shape)
        for row in recordings.pytorch_keys(model_name)
    }


def values(model):
    return {name: variable.numpy() for name, variable in variable_names(model).items()}


def assert_weights_are(model, names, weights):
    """Checks the variables that were loaded; `weights` are by key of public TensorFlow ones."""
    keys, found = deeplab2.checkpoint_keys(model), values(model)
    for name in names:
        expected = weights[keys[name]].ravel()
        np.testing.assert_array_equal(found[name].ravel(), expected, err_msg=name)


@pytest.fixture(scope="module", params=["coco/resnet50", "cityscapes/convnext_tiny"])
def public(request):
    """A model as built, and the weights of its public checkpoint."""
    model = build_with_zeros(kmax_tf.load_experiment(f"{request.param}.textproto"))
    return model, recordings.recipe_weights(request.param.replace("/", "_"))


@pytest.fixture(scope="module")
def small():
    """A small model, and weights as a public checkpoint would have them."""
    model = kmax_tf.build_model(kmax_tf.load_experiment("shapes/laptop.textproto"))
    places = deeplab2.places(model).values()
    return model, {place.key: weights_recipe.weight(place.key, place.shape) for place in places}


def test_a_public_tensorflow_checkpoint_is_loaded_whole(public, tmp_path):
    model, weights = public
    report = kmax_tf.import_checkpoint(model, write_tensorflow(tmp_path / "ckpt-7", weights))
    assert_weights_are(model, report.loaded, weights)
    assert report.format == "deeplab2"
    assert len(report.loaded) == len(weights) == len(model.variables)
    assert not report.missing
    assert not report.unexpected
    assert not report.initialised
    assert len(report.ignored) == len(COUNTERS) + 1
    assert f"imported {len(weights)} variables" in report.summary()


def test_missing_and_unexpected_variables_are_errors_unless_asked_for(small, tmp_path):
    model, weights = small
    lost, extra = sorted(key for key in weights if key.startswith("pixel_decoder/"))[:2]
    damaged = {key: value for key, value in weights.items() if key != lost}
    path = write_tensorflow(tmp_path / "missing", damaged)
    before = values(model)
    with pytest.raises(CheckpointError, match="1 variable of the model not in it"):
        kmax_tf.import_checkpoint(model, path)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
    report = kmax_tf.import_checkpoint(model, path, allow_missing=True)
    assert [deeplab2.checkpoint_keys(model)[name] for name in report.missing] == [lost]

    more = {**weights, extra.replace("pixel_decoder/", "pixel_decoder/more/"): weights[extra]}
    path = write_tensorflow(tmp_path / "more", more)
    with pytest.raises(CheckpointError, match="1 variable of it not in the model"):
        kmax_tf.import_checkpoint(model, path)
    assert len(kmax_tf.import_checkpoint(model, path, allow_unexpected=True).unexpected) == 1


def test_another_shape_is_an_error_that_names_both(small, tmp_path):
    model, weights = small
    key = next(key for key in weights if key.startswith("transformer_decoder/cluster_centers"))
    path = write_tensorflow(tmp_path / "ckpt", {**weights, key: weights[key][:, :7]})
    with pytest.raises(CheckpointError, match=r"cluster_centers \[1, 7, 96\] instead of"):
        kmax_tf.import_checkpoint(model, path, allow_missing=True, allow_unexpected=True)


def test_only_the_parts_asked_for_are_loaded(small, tmp_path):
    model, weights = small
    path = write_tensorflow(tmp_path / "ckpt", weights)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    report = kmax_tf.import_checkpoint(model, path, parts=["pixel_decoder"])
    assert {name.split("/")[0] for name in report.loaded} == {"pixel_decoder"}
    assert not any(variable.numpy().any() for variable in model.backbone.variables)
    with pytest.raises(CheckpointError, match="no part neck; it has backbone"):
        kmax_tf.import_checkpoint(model, path, parts=["neck"])


@pytest.mark.parametrize("prefix", ["encoder/", "backbone/_encoder/"])
def test_a_backbone_alone_leaves_the_rest(small, tmp_path, prefix):
    """As deeplab2's ImageNet checkpoints have it, and those that Model Garden trained."""
    model, weights = small
    backbone = {
        key.replace("encoder/", prefix, 1): value
        for key, value in weights.items()
        if key.startswith("encoder/")
    }
    backbone["classifier/kernel" + recordings.SUFFIX] = np.zeros([2048, 1000], np.float32)
    report = kmax_tf.import_checkpoint(
        model, write_tensorflow(tmp_path / "imagenet", backbone), "deeplab2"
    )
    assert len(report.loaded) == len(model.backbone.variables)
    assert any("classifier" in key for key in report.ignored)
    assert_weights_are(model, report.loaded, weights)


@pytest.mark.parametrize(
    ("backbone", "suffix"),
    [
        pytest.param("resnet50", ".pth", marks=pytest.mark.slow),
        ("convnext_tiny", ".safetensors"),
    ],
)
def test_a_public_pytorch_checkpoint_is_loaded_whole(tmp_path, backbone, suffix):
    model = build_with_zeros(kmax_tf.load_experiment(f"pytorch/coco_{backbone}.textproto"))
    name = f"pytorch_coco_{backbone}"
    state = pytorch_state(name)
    state["backbone.anything.num_batches_tracked"] = np.zeros([], np.int64)
    write_state(state, tmp_path / f"model{suffix}")
    report = kmax_tf.import_checkpoint(model, tmp_path / f"model{suffix}")
    assert_weights_are(model, report.loaded, recordings.pytorch_recipe_weights(name))
    assert report.format == "pytorch"
    assert len(report.loaded) == len(state) - 1 == len(model.variables)
    assert report.ignored == ("backbone.anything.num_batches_tracked",)


@pytest.mark.slow
def test_the_official_convnext_classifier_gives_a_backbone(tmp_path):
    model = build_with_zeros(kmax_tf.load_experiment("coco/convnext_tiny.textproto"))
    state = {
        key.removeprefix("backbone."): value
        for key, value in pytorch_state("pytorch_coco_convnext_tiny").items()
        if key.startswith("backbone.")
    }
    classifier = {"norm.weight": np.ones(768, np.float32), "head.bias": np.ones(9, np.float32)}
    write_state({**state, **classifier}, tmp_path / "convnext_tiny_22k_224.pth")
    report = kmax_tf.import_checkpoint(model, tmp_path / "convnext_tiny_22k_224.pth")
    assert sorted(report.ignored) == sorted(classifier)
    assert len(report.loaded) == len(model.backbone.variables) == len(state)
    weights = recordings.pytorch_recipe_weights("pytorch_coco_convnext_tiny")
    assert_weights_are(model, report.loaded, weights)


# Classes of the model; the checkpoint is of Cityscapes.
OWN = """
name: "mine" num_ids: 3 ignore_label: 255 label_divisor: 1000
classes { id: 0 name: "road" }
classes { id: 1 name: "wombat" thing: true }
classes { id: 2 name: "car" thing: true }
"""


@pytest.mark.slow
def test_heads_take_classes_of_the_same_name(tmp_path):
    (tmp_path / "mine.textproto").write_text(OWN)
    experiment = kmax_tf.load_experiment(
        "cityscapes/convnext_tiny.textproto", [f'dataset_file="{tmp_path}/mine.textproto"']
    )
    model = build_with_zeros(experiment)
    weights = recordings.recipe_weights("cityscapes_convnext_tiny")
    path = write_tensorflow(tmp_path / "ckpt", weights)
    report = kmax_tf.import_checkpoint(model, path, source_dataset="cityscapes")
    assert not report.missing
    assert not report.unexpected
    assert not report.reshaped
    found = values(model)
    # Ours: wombat, car, road, void. Theirs: things 11..18 (car is 13), then stuff 0.., then void.
    bias = weights["transformer_class_head/_conv/bias" + recordings.SUFFIX]
    assert found["heads/class_head/dense/bias"].tolist() == [0, bias[2], bias[8], bias[19]]
    semantic = weights["semantic_last_layer/bias" + recordings.SUFFIX]
    assert found["semantic_branch/last_conv/bias"].tolist() == [semantic[0], 0, semantic[13]]
    assert report.initialised["heads/class_head/dense/bias"] == "1 of 3 classes, new by name"
    assert report.initialised["semantic_branch/last_conv/bias"] == "1 of 3 classes, new by name"
    assert "fresh values" in report.summary()


def test_wrong_files_are_one_clear_error(small, tmp_path):
    model, weights = small
    cases = {
        "there is no checkpoint": (tmp_path / "nothing", "deeplab2"),
        "there is no file": (tmp_path / "nothing.pth", "auto"),
        "no format 'onnx'": (tmp_path / "x.pth", "onnx"),
    }
    (tmp_path / "text.pth").write_text("not a checkpoint")
    cases["cannot read"] = (tmp_path / "text.pth", "auto")
    write_state({"conv.weight": np.zeros(3, np.float32)}, tmp_path / "other.pth")
    cases["holds no kMaX-DeepLab or its backbone"] = (tmp_path / "other.pth", "auto")
    (tmp_path / "text.h5").write_text("not a checkpoint")
    cases["cannot read the weights"] = (tmp_path / "text.h5", "auto")
    own = tf.train.Checkpoint(**model.checkpoint_items).write(str(tmp_path / "own"))
    cases["it is one of ours, which the same model takes as it is"] = (own, "auto")
    cases["`kmax export-weights --format=deeplab2"] = (own, "auto")
    for message, (path, format) in cases.items():
        with pytest.raises(CheckpointError, match=re.escape(message)):
            kmax_tf.import_checkpoint(model, path, format)
    path = write_tensorflow(tmp_path / "cut", weights)
    data = tmp_path / "cut.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="cannot read"):
        kmax_tf.import_checkpoint(model, path)


@pytest.mark.slow
def test_keras_convnext_is_the_same_function(tmp_path):
    theirs = keras.applications.ConvNeXtTiny(
        include_top=False, weights=None, include_preprocessing=False, input_shape=(64, 64, 3)
    )
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        weight.assign(rng.normal(0.5, 0.2, weight.shape) * 0.1)
    theirs.save_weights(tmp_path / "convnext_tiny_notop.h5")
    model = build_with_zeros(kmax_tf.load_experiment("coco/convnext_tiny.textproto"))
    report = kmax_tf.import_checkpoint(model, tmp_path / "convnext_tiny_notop.h5")
    assert report.format == "keras"
    assert len(report.loaded) == len(model.backbone.variables)
    # Padding differs, so networks are compared block by block.
    prefix = "convnext_tiny_stage_1_block_2"
    first, last = (theirs.get_layer(f"{prefix}_{x}") for x in ("depthwise_conv", "layer_scale"))
    x = rng.normal(size=[1, 8, 8, 192]).astype(np.float32)
    residual = keras.Model(first.input, last.output)(x)
    np.testing.assert_allclose(
        model.backbone.stages[1].blocks[2](x), x + residual, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_keras_resnet_is_equal_as_far_as_it_goes(tmp_path):
    theirs = keras.applications.ResNet50(include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        scale = 0.05 if "kernel" in weight.name else 0.3
        value = rng.normal(0, scale, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    theirs.save_weights(tmp_path / "resnet50_notop.h5")
    model = build_with_zeros(kmax_tf.load_experiment("coco/resnet50.textproto"))
    report = kmax_tf.import_checkpoint(model, tmp_path / "resnet50_notop.h5")
    assert len(report.loaded) == len(model.backbone.variables)
    pixels = rng.integers(0, 256, [1, 33, 33, 3]).astype(np.float32)
    normalized = keras.Model(theirs.input, theirs.get_layer("conv1_bn").output)
    expected = normalized(keras.applications.resnet50.preprocess_input(pixels.copy()))
    stem = model.backbone.stem(pixels / 127.5 - 1.0)
    inner = slice(3, -3)  # padding is of another colour: their mean, our grey
    np.testing.assert_allclose(
        stem[:, inner, inner], expected[:, inner, inner], rtol=1e-3, atol=1e-3
    )
    block = model.backbone.stages[0].blocks[1]
    x = rng.normal(size=[1, 9, 9, 256]).astype(np.float32)
    first, last = theirs.get_layer("conv2_block2_1_conv"), theirs.get_layer("conv2_block2_3_bn")
    residual = keras.Model(first.input, last.output)(tf.nn.relu(x))
    np.testing.assert_allclose(block(x), residual + tf.nn.relu(x), rtol=1e-3, atol=1e-3)


def test_imagenet_without_a_network_says_what_to_do(public, monkeypatch):
    model, _ = public

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    for name in ("ResNet50", "ConvNeXtTiny"):
        monkeypatch.setattr(keras.applications, name, refuse)
    with pytest.raises(CheckpointError, match=r"no route to host.*give the path of the file"):
        kmax_tf.import_checkpoint(model, "imagenet")


def test_imagenet_of_a_backbone_that_keras_lacks(small):
    with pytest.raises(CheckpointError, match="no ImageNet weights of this backbone"):
        kmax_tf.import_checkpoint(small[0], "imagenet")
