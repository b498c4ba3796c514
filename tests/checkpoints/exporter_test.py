"""Weights written as public checkpoints, and read back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.checkpoints.places import variable_names
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.checkpoints.torch_file import read_state
from kmax_tf.errors import OutputError
from tests.golden import recordings
from tests.model.building import build_with_zeros


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("ade20k/resnet50", marks=pytest.mark.slow),
        "cityscapes/convnext_tiny",
    ],
)
def model(request):
    """Networks whose classes have another order in the PyTorch implementation."""
    model = build_with_zeros(kmax_tf.load_experiment(f"{request.param}.textproto"))
    recordings.assign(model, recordings.recipe_weights(request.param.replace("/", "_")))
    return model


@pytest.mark.parametrize(
    ("format", "file_name"),
    [("deeplab2", "ckpt"), ("pytorch", "model.pkl"), ("safetensors", "model.safetensors")],
)
def test_a_round_trip_is_exact(model, tmp_path, format, file_name):
    before = {name: variable.numpy() for name, variable in variable_names(model).items()}
    path = kmax_tf.export_checkpoint(model, tmp_path / file_name, format)
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    report = kmax_tf.import_checkpoint(model, path)
    assert len(report.loaded) == len(before)
    for name, variable in variable_names(model).items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)


def test_a_tensorflow_checkpoint_has_the_published_names_and_shapes(tmp_path):
    model = build_with_zeros(kmax_tf.load_experiment("coco/resnet50.textproto"))
    path = kmax_tf.export_checkpoint(model, tmp_path / "ckpt", "deeplab2")
    published = {key: row.shape for key, row in recordings.variables("coco_resnet50").items()}
    assert {key: list(shape) for key, shape in tf.train.list_variables(path)} == published


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "convnext_tiny"])
def test_a_pytorch_file_has_the_published_names_and_shapes(tmp_path, backbone):
    model = build_with_zeros(kmax_tf.load_experiment(f"pytorch/coco_{backbone}.textproto"))
    path = kmax_tf.export_checkpoint(model, tmp_path / "model", "pytorch")
    assert path.endswith(".pkl")
    with open(path, "rb") as file:
        content = pickle.load(file)  # as detectron2 does, which knows its own files by these keys
    assert content.keys() == {"model", "__author__"}
    published = {
        row.theirs: row.their_shape for row in recordings.pytorch_keys(f"pytorch_coco_{backbone}")
    }
    assert {key: list(value.shape) for key, value in content["model"].items()} == published


def test_pytorch_has_the_classes_in_the_order_of_their_ids(model, tmp_path):
    path = kmax_tf.export_checkpoint(model, tmp_path / "model", "safetensors")
    key = "sem_seg_head.predictor._predcitor._transformer_class_head.conv.bias"
    ours = variable_names(model)["heads/class_head/dense/bias"].numpy()
    experiment = kmax_tf.load_experiment(
        "cityscapes/resnet50.textproto" if len(ours) == 20 else "ade20k/resnet50.textproto"
    )
    things = sorted(category.id for category in experiment.dataset.classes if category.thing)
    stuff = sorted(category.id for category in experiment.dataset.classes if not category.thing)
    by_id = dict(zip([*things, *stuff], ours))
    expected = [by_id[class_id] for class_id in sorted(by_id)] + [ours[-1]]
    np.testing.assert_array_equal(read_state(path)[key], expected)


@pytest.mark.slow
def test_max_s_has_no_place_in_pytorch(tmp_path):
    model = build_with_zeros(kmax_tf.load_experiment("coco/max_s.textproto"))
    with pytest.raises(CheckpointError, match="its backbones are ResNet-50 and ConvNeXt"):
        kmax_tf.export_checkpoint(model, tmp_path / "model", "pytorch")
    assert not list(tmp_path.iterdir())


def test_errors_leave_nothing_behind(model, tmp_path):
    with pytest.raises(CheckpointError, match="no format 'onnx'; give one of deeplab2"):
        kmax_tf.export_checkpoint(model, tmp_path / "model", "onnx")
    with pytest.raises(CheckpointError, match=r"ends in \.pkl"):
        kmax_tf.export_checkpoint(model, tmp_path / "model.pth", "pytorch")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        kmax_tf.export_checkpoint(model, tmp_path / "file" / "model.pkl", "pytorch")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
