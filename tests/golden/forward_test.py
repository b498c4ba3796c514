"""Networks against what the public implementations give with the same weights and image."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.model.folding import fold_batch_norms
from tests.golden import pytorch_weights_recipe, recordings, weights_recipe
from tests.golden.postprocessing_settings import parameters, postprocessor
from tests.model.building import build_with_zeros

# Recording: our experiment. The last is of the PyTorch implementation.
PUBLISHED = {
    "coco_resnet50": "coco/resnet50.textproto",
    "coco_max_s": "coco/max_s.textproto",
    "coco_convnext_tiny": "coco/convnext_tiny.textproto",
}
PYTORCH = "pytorch_coco_resnet50"
OUTPUTS = {"mask_logits", "class_logits", "pixel_embeddings", "semantic_logits"}
RUNS = {
    "eager": lambda model: model,
    "function": tf.function,
    "xla": lambda model: tf.function(model, jit_compile=True),
}


# One of each implementation in all tests; the others with the slow ones.
QUICK = ("coco_resnet50", PYTORCH)


def each(names):
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture(scope="module", params=each([*PUBLISHED, PYTORCH]))
def forward(request):
    """A model with the weights of the recording, the image, and what was recorded."""
    name = request.param
    if name == PYTORCH:
        path, image = "pytorch/coco_resnet50.textproto", pytorch_weights_recipe.image(129)
        weights = recordings.pytorch_recipe_weights(name)
    else:
        path, image = PUBLISHED[name], weights_recipe.image(129, 129, 1)
        weights = recordings.recipe_weights(name)
    model = build_with_zeros(kmax_tf.load_experiment(path))
    recordings.assign(model, weights)
    recorded = np.load(recordings.FOLDER / f"forward_{name}.npz")
    return types.SimpleNamespace(model=model, image=image, recorded=recorded, name=name)


@pytest.mark.parametrize("run", ["eager", "function", pytest.param("xla", marks=pytest.mark.slow)])
def test_inference_agrees(forward, run):
    outputs = RUNS[run](forward.model)(forward.image, training=False)
    assert set(outputs) == OUTPUTS
    recordings.check(forward.recorded, outputs, tolerance=1e-4)


@pytest.mark.slow
def test_folded_inference_agrees(forward):
    outputs = tf.function(fold_batch_norms(forward.model))(forward.image, training=False)
    assert set(outputs) == OUTPUTS - {"semantic_logits"}
    recordings.check(forward.recorded, outputs, tolerance=1e-4)


def test_every_step_of_inference_agrees(forward):
    model = forward.model
    tensors = {}
    features = model.backbone(forward.image / 127.5 - 1.0)
    if model.feature_activation is not None:
        features = {stride: model.feature_activation(x) for stride, x in features.items()}
    tensors.update({f"backbone/stride{stride}": x for stride, x in features.items()})
    pixel_features = model.pixel_decoder(features)
    tensors.update({f"pixel_decoder/stride{stride}": x for stride, x in pixel_features.items()})
    decoder = model.transformer_decoder
    centers = decoder.cluster_centers
    for i, (stride, block) in enumerate(zip(decoder.block_strides, decoder.blocks), start=1):
        centers, prediction = block(centers, pixel_features[stride])
        tensors[f"block{i}/centers"] = centers
        tensors.update({f"block{i}/{key}": value for key, value in prediction.items()})
        if f"block{i}/assignment" in forward.recorded:
            best = np.argmax(prediction["mask_logits"], axis=-1)
            np.testing.assert_array_equal(best.ravel(), forward.recorded[f"block{i}/assignment"][0])
    embeddings = decoder(pixel_features)[:2]
    tensors.update({"class_embeddings": embeddings[0], "mask_embeddings": embeddings[1]})
    recorded = recordings.tensor_names(forward.recorded) - OUTPUTS
    assert recorded <= set(tensors)
    recordings.check(forward.recorded, {key: tensors[key] for key in recorded}, tolerance=1e-4)


# The area limits of the small ones were not recorded: 4..20 for things and 6..29 for stuff give the
# recorded maps.
SMALL = {"thing_area_limit": 20, "stuff_area_limit": 20}
SETTINGS = {
    "config": parameters("config"),
    "small_area": {**parameters("small_area"), **SMALL},
    "no_area": parameters("no_area"),
    "pixelwise": {**parameters("pixelwise"), **SMALL},
}


@pytest.mark.parametrize("forward", each(PUBLISHED), indirect=True)
@pytest.mark.parametrize("setting", SETTINGS)
def test_maps_agree(forward, setting):
    """Of the model's own outputs; other tests merge recorded ones."""
    recorded = forward.recorded
    maps = postprocessor(SETTINGS[setting])(forward.model(forward.image))
    np.testing.assert_array_equal(maps["panoptic"], recorded[f"maps/{setting}/panoptic"])
    np.testing.assert_array_equal(maps["semantic"], recorded["maps/semantic"])
    for key in ("instance_scores", "semantic_scores"):
        expected = recorded[f"maps/{setting}/{key}"]
        np.testing.assert_allclose(maps[key][:, ::6, ::6], expected, atol=1e-4, err_msg=key)
