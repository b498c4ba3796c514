"""Folded models compute what the unfolded ones do."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.model.folding import fold_batch_norms
from tests.model.weights import random, randomize

BACKBONES = {
    "resnet": [],
    "max_s": [
        "model.resnet.stem=THREE_CONV_3X3",
        "model.resnet.activation=GELU",
        "model.resnet.stages[3].block_type=AXIAL",
        "model.axial_attention.num_heads=2",
    ],
    "pytorch": ["model.resnet.max_pool=true", "model.activated_features=ALL"],
    "convnext": ["model.convnext={ blocks: [1, 1, 2, 1] channels: [8, 12, 16, 24] }"],
}


# Of MaX-S, what is folded is in the axial blocks that the pixel decoder has, too.
@pytest.fixture(
    scope="module",
    params=[
        name if name != "max_s" else pytest.param(name, marks=pytest.mark.slow)
        for name in BACKBONES
    ],
)
def models(request):
    experiment = kmax_tf.load_experiment("shapes/laptop.textproto", BACKBONES[request.param])
    model = kmax_tf.compile_for_training(kmax_tf.build_model(experiment), experiment)
    randomize(model)
    return model, fold_batch_norms(model)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
def test_outputs_are_the_same(models, compiled):
    model, folded = models
    images = random(2, 65, 97, 3) * 60 + 127
    weights = model.get_weights()
    expected = model(images, training=False)
    outputs = (tf.function(folded) if compiled else folded)(images, training=False)
    assert set(outputs) == {"mask_logits", "class_logits", "pixel_embeddings"}
    for name, value in outputs.items():
        error = np.abs(value - expected[name]).max() / np.abs(expected[name]).max()
        assert error < 1e-5, name
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(before, after)


def test_nothing_is_left_to_normalize_or_train(models):
    _, folded = models
    left = [part for part in folded.submodules if isinstance(part, keras.layers.BatchNormalization)]
    assert left == []
    with pytest.raises(ValueError, match="were folded"):
        folded(random(1, 33, 33, 3), training=True)
