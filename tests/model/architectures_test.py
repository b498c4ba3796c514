"""Every architecture at sizes of every shape, known and unknown in its graph, and folded."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.grids import grid_side, valid_sides_near
from kmax_tf.keras_api import keras
from kmax_tf.model.folding import fold_batch_norms
from tests.model.building import build_with_zeros, zero_weights
from tests.model.weights import randomize

CONVNEXT = "model.convnext={blocks: [1, 1, 2, 1] channels: [8, 12, 16, 24]}"
FIVE_STAGES = [
    "model.pixel_decoder.stages={filters: 16 blocks: 1 block_type: AXIAL}, "
    "{filters: 12 blocks: 2 block_type: AXIAL}, {filters: 8 blocks: 1}, {filters: 6 blocks: 1}, "
    "{filters: 4 blocks: 1}",
    "model.pixel_decoder.dilation=2",
    "model.semantic_head={}",
]
# Architecture: (changes, stride of the mask logits, stride of the semantic logits).
ARCHITECTURES = {
    "resnet": ([], 4, 4),
    "max_s": (
        [
            "model.resnet.stem=THREE_CONV_3X3",
            "model.resnet.activation=GELU",
            "model.resnet.stages[2]={blocks: 2 first_block_type: BOTTLENECK block_type: AXIAL}",
            "model.resnet.stages[3].block_type=AXIAL",
        ],
        4,
        4,
    ),
    "pytorch": (["model.resnet.max_pool=true", "model.activated_features=ALL"], 4, 4),
    "convnext": ([CONVNEXT], 4, 4),
    "five_stages": (FIVE_STAGES, 2, 32),
    # Its stem, of stride 4, is all that the fifth stage gets: as published for Cityscapes.
    "convnext_five_stages": ([CONVNEXT, *FIVE_STAGES], 4, 32),
    "convnext_to_stride_2": (
        [CONVNEXT, *FIVE_STAGES, "model.convnext.stem_to_stride_2=true"],
        2,
        32,
    ),
}
SIZES = [(33, 33), (33, 97), (129, 65)]


# The last has the parts of others, put together.
QUICK = [name for name in ARCHITECTURES if name != "convnext_five_stages"]


@pytest.fixture(
    scope="module", params=[*QUICK, pytest.param("convnext_five_stages", marks=pytest.mark.slow)]
)
def built(request):
    """A small model, a function of it for images of any size, and the strides of its outputs."""
    overrides, stride, semantic_stride = ARCHITECTURES[request.param]
    experiment = kmax_tf.load_experiment(
        "shapes/laptop.textproto",
        ["model.transformer_decoder.block_strides=[32, 8]", *overrides],
    )
    model = build_with_zeros(experiment)
    randomize(model)
    signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]
    dynamic = tf.function(lambda x: model(x, training=False), input_signature=signature)
    strides = {"mask_logits": stride, "pixel_embeddings": stride}
    return types.SimpleNamespace(
        model=model, dynamic=dynamic, strides={**strides, "semantic_logits": semantic_stride}
    )


def images(height, width):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, [1, height, width, 3]).astype(np.float32)


def check_close(outputs, expected, tolerance):
    for name, value in outputs.items():
        error = np.abs(value - expected[name]).max() / np.abs(expected[name]).max()
        assert error < tolerance, name


@pytest.mark.parametrize("size", SIZES)
def test_known_and_unknown_sizes_give_the_same(built, size):
    expected = built.model(images(*size), training=False)
    outputs = built.dynamic(images(*size))
    assert set(outputs) == set(expected) == {*built.strides, "class_logits"}
    check_close(outputs, expected, 1e-4)
    for name, stride in built.strides.items():
        grid = tuple(grid_side(side, stride) for side in size)
        assert outputs[name].shape[1:3] == expected[name].shape[1:3] == grid, name


@pytest.mark.parametrize("size", [(64, 33), (33, 40), (32, 65)])
def test_other_sizes_are_refused_by_a_graph_for_any_size(built, size):
    nearest = [valid_sides_near(side)[0] for side in size]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        built.dynamic(images(*size))
    assert f"images are] [{size[0]} {size[1]}] [but the model takes sizes" in str(caught.value)
    assert f"nearest are] [{nearest[0]} {nearest[1]}] [and]" in str(caught.value)


def test_gradients_reach_everything(built):
    """What is resized or subsampled included."""
    with tf.GradientTape() as tape:
        outputs = built.model(images(33, 97), training=True)
        loss = tf.add_n([tf.reduce_sum(tf.sin(x)) for x in tf.nest.flatten(outputs)])
    gradients = tape.gradient(loss, built.model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


def test_folded_models_compute_the_same_and_train_no_more(built):
    weights, x = built.model.get_weights(), images(65, 97)
    with zero_weights():
        folded = fold_batch_norms(built.model)
    outputs = tf.function(folded)(x, training=False)
    assert set(outputs) == {"mask_logits", "class_logits", "pixel_embeddings"}
    check_close(outputs, built.model(x, training=False), 1e-5)
    for before, after in zip(weights, built.model.get_weights()):
        np.testing.assert_array_equal(before, after)
    norms = keras.layers.BatchNormalization
    assert [part.name for part in folded.submodules if isinstance(part, norms)] == []
    with pytest.raises(ValueError, match="were folded"):
        folded(x, training=True)
