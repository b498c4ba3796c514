"""The functional model: sizes, types of input, what it returns when."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from tests.model.building import build_with_zeros
from tests.model.weights import close, precision, randomize
from tests.training.tiny import tiny_experiment

CENTERS, EMBEDDING, CLASSES, IDS = 16, 48, 9, 10


def load(*overrides):
    return tiny_experiment("model.transformer_decoder.block_strides=[16, 4]", *overrides)


@pytest.fixture(scope="module")
def model():
    built = build_with_zeros(load())
    randomize(built)
    return built


def images(height, width, batch=2):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, [batch, height, width, 3], dtype=np.uint8)


def test_intermediate_predictions_come_in_training_only(model):
    outputs = {"mask_logits", "class_logits", "pixel_embeddings"}
    for training in (False, None):
        assert set(model(images(33, 33), training=training)) == {*outputs, "semantic_logits"}
    predictions = model(images(33, 97), training=True)
    assert set(predictions) == {*outputs, "semantic_logits", "intermediate"}
    assert predictions["mask_logits"].shape == [2, 9, 25, CENTERS]
    assert predictions["class_logits"].shape == [2, CENTERS, CLASSES + 1]
    assert predictions["pixel_embeddings"].shape == [2, 9, 25, EMBEDDING]
    assert predictions["semantic_logits"].shape == [2, 9, 25, IDS]
    for size, prediction in zip(([3, 7], [9, 25]), predictions["intermediate"]):
        assert set(prediction) == outputs
        assert prediction["mask_logits"].shape == [2, *size, CENTERS]
    assert {x.dtype for x in tf.nest.flatten(predictions)} == {tf.float32}


def test_predict_gives_no_intermediate_predictions(model):
    assert "intermediate" not in model.predict(images(33, 33), verbose=0)


def test_predictions_by_block_are_those_of_inference_and_of_what_each_block_reads(model):
    pixels = images(65, 33)
    predictions = model.predictions_by_block(pixels)
    plain = model(pixels)
    assert set(predictions) == {*plain, "intermediate"}
    for key, value in plain.items():
        close(predictions[key], value, 1e-3, key)

    features = model.pixel_decoder(model.backbone(pixels / np.float32(127.5) - 1))
    centers = tf.tile(model.transformer_decoder.cluster_centers, [2, 1, 1])
    assert len(predictions["intermediate"]) == 2
    for block, stride, found in zip(
        model.transformer_decoder.blocks, (16, 4), predictions["intermediate"]
    ):
        centers, expected = block(centers, features[stride])
        for key, value in expected.items():
            close(found[key], value, 1e-3, key)


@pytest.mark.parametrize(
    ("size", "below", "above"), [((64, 33), 33, 65), ((33, 66), 65, 97), ((33, 1280), 1249, 1281)]
)
def test_other_sizes_are_refused_with_the_nearest_valid_ones(model, size, below, above):
    for predict in (model, model.predictions_by_block):
        with pytest.raises(kmax_tf.UserError, match=rf"nearest are {below} and {above}\b"):
            predict(images(*size))


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64", "float16"])
def test_type_of_the_image_does_not_matter(model, dtype):
    pixels = images(33, 65)
    expected = model(pixels)
    predictions = model(pixels.astype(dtype))
    for key, value in expected.items():
        np.testing.assert_allclose(predictions[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


def test_examples_do_not_depend_on_each_other(model):
    pixels = images(65, 33, batch=3)
    together = model(pixels)
    for index in range(3):
        alone = model(pixels[index : index + 1])
        for key, value in alone.items():
            close(together[key][index], value[0], 1e-3, key)


ACTIVATED = {"SEMANTIC_SKIPS": {8, 4}, "ALL": {32, 16, 8, 4, 2}, "NONE": set()}


@pytest.fixture(scope="module")
def plain_branch(model):
    """A semantic branch that activates nothing by itself, with the model's weights."""
    branch = build_with_zeros(load("model.activated_features=NONE")).semantic_branch
    branch.set_weights(model.semantic_branch.get_weights())
    return branch


@pytest.mark.parametrize("value", ACTIVATED)
def test_activated_features(model, plain_branch, value):
    """Those of some strides for the semantic branch, those of all or of none for the decoder."""
    built = build_with_zeros(load(f"model.activated_features={value}"))
    built.set_weights(model.get_weights())
    pixels = images(65, 33)
    outputs = built(pixels)

    def activated(strides):
        return {s: tf.nn.relu(x) if s in strides else x for s, x in features.items()}

    features = model.backbone(pixels / np.float32(127.5) - 1)
    decoder_reads = activated(ACTIVATED[value] if value == "ALL" else ())
    expected = plain_branch(activated(ACTIVATED[value]))
    close(outputs["semantic_logits"], expected, 1e-3)
    expected = model.heads.pixel_head(model.pixel_decoder(decoder_reads)[4])
    close(outputs["pixel_embeddings"], expected, 1e-3)


def test_sub_models_hold_every_variable_once(model):
    parts = [id(v) for item in model.checkpoint_items.values() for v in item.variables]
    assert len(set(parts)) == len(parts)
    assert set(parts) == {id(variable) for variable in model.variables}
    for name, item in model.checkpoint_items.items():
        assert item.name == name
        assert all(variable.name.startswith(f"{name}/") for variable in item.variables)


def test_mixed_bfloat16_without_semantic_branch(model):
    """In one test, as building a model takes a while."""
    experiment = load()
    experiment.model.ClearField("semantic_decoder")
    with precision("mixed_bfloat16"):
        half = build_with_zeros(experiment)
    assert half.semantic_branch is None
    assert "semantic_branch" not in half.checkpoint_items
    for name, item in half.checkpoint_items.items():
        item.set_weights(model.checkpoint_items[name].get_weights())
    pixels = images(65, 65)
    predictions = half(pixels)
    assert set(predictions) == {"mask_logits", "class_logits", "pixel_embeddings"}
    training = half(pixels, training=True)
    assert set(training) == {*predictions, "intermediate"}
    assert {x.dtype for x in tf.nest.flatten(training)} == {tf.float32}
    assert all(np.isfinite(x).all() for x in tf.nest.flatten(training))
    embeddings = predictions["pixel_embeddings"].numpy()
    expected = model(pixels)["pixel_embeddings"].numpy()
    assert (embeddings * expected).sum(-1).mean() > 0.98  # cosine of the angle between them
