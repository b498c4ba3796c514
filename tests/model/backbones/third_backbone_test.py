"""A backbone that the package lacks: a class, a message, and a line of the builder's table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.config import options_of
from kmax_tf.keras_api import keras
from kmax_tf.model import builder
from kmax_tf.model.backbones.backbone import Backbone
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.builder import group_options
from kmax_tf.training.groups import build_groups
from tests.extended_protos import extended
from tests.training.tiny import tiny_batch, tiny_experiment

MESSAGE = "message Plain { repeated int32 channels = 1; }"
FIELD = "    ConvNeXt convnext = 8;\n    Plain plain = 11;"
RATE = "training.optimizer.backbone_multiplier=0.1"


class Shift(keras.layers.Layer):
    """Adds one number a channel."""

    def build(self, input_shape: tf.TensorShape) -> None:
        self.shift = self.add_weight(name="shift", shape=[input_shape[-1]])
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.shift


class Plain(Backbone):
    """A strided convolution a stride."""

    activation = staticmethod(tf.nn.relu)
    variable_kinds: ClassVar = {"shift": "biases"}

    def __init__(self, channels: Sequence[int], name: str):
        super().__init__(name=name)
        self.stem = keras.layers.Conv2D(4, 3, 2, padding="same", name="stem")
        self.convs = [
            keras.layers.Conv2D(count, 3, 2, padding="same", name=f"conv_stride{stride}")
            for stride, count in zip(self.strides, channels)
        ]
        self.shift = Shift(name="shift")

    def call(self, x: tf.Tensor, training: bool | None = None) -> dict[int, tf.Tensor]:
        x = self.stem(x)
        features = {2: x}
        for stride, conv in zip(self.strides, self.convs):
            x = self.activation(conv(x))
            features[stride] = x
        return {**features, 32: self.shift(x)}

    def layers_by_depth(self) -> list[list[keras.layers.Layer]]:
        return [[self.stem], *([conv] for conv in self.convs[:-1]), [self.convs[-1], self.shift]]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, KMaX]:
    monkeypatch.setitem(
        builder.BACKBONES,
        "plain",
        lambda options, *_: options_of(Plain, options.plain, name="backbone"),
    )
    text = """
      model { plain { channels: [4, 4, 8, 8] } }
      training { optimizer { backbone_layer_decay: 0.5 decayed { biases: true } } }
    """
    experiment = extended(tiny_experiment(RATE), "model.proto", MESSAGE, FIELD, text)
    return experiment, kmax_tf.build_model(experiment)


def test_it_is_trained_with_rates_and_decay_of_its_own(
    built: tuple[Any, KMaX], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, model = built
    assert isinstance(model.backbone, Plain)
    assert model.backbone.title == "Plain"
    options = group_options(experiment.training.optimizer)
    groups = build_groups(options, model)
    rates = [groups.rates[layers[0].kernel.name] for layers in model.backbone.layers_by_depth()]
    assert rates == pytest.approx([0.1 * 0.5**depth for depth in (4, 3, 2, 1, 0)])
    assert model.backbone.shift.shift.name in groups.decayed

    kmax_tf.compile_for_training(model, experiment)
    before = [variable.numpy() for variable in model.backbone.trainable_variables]
    model.fit(tf.data.Dataset.from_tensors(tiny_batch(experiment)), verbose=0)
    for old, variable in zip(before, model.backbone.trainable_variables):
        assert (old != variable.numpy()).any(), variable.name

    for format in ("deeplab2", "pytorch"):
        with pytest.raises(kmax_tf.UserError, match="has nothing like backbone/"):
            kmax_tf.export_checkpoint(model, tmp_path / "weights", format)

    monkeypatch.setattr(Plain, "variable_kinds", {})
    with pytest.raises(ValueError, match=r"whether backbone/shift/shift:0 decays is not known"):
        build_groups(options, model)
