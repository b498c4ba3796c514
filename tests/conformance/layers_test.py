"""What holds for every layer of the network, listed once and run over all of them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from functools import partial
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf.model
from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model import (
    attention,
    axial_attention,
    batch_norm,
    convolutions,
    heads,
    kmeans_attention,
    layers,
    pixel_decoder,
    residual,
    semantic_branch,
    transformer_decoder,
)
from kmax_tf.model.backbones import convnext, resnet
from tests.model.weights import precision, randomize
from tests.options import block_options, with_defaults

BATCH = 2
HEAD_OPTIONS = with_defaults(
    heads.HeadOptions, num_classes=3, kernel_size=3, channels=6, embedding_channels=4
)
BLOCK_OPTIONS = with_defaults(
    transformer_decoder.KMaXBlockOptions,
    channels=8,
    key_channels=4,
    value_channels=8,
    num_heads=2,
    ffn_channels=12,
)
CONVOLUTION = block_options(2, ops.gelu)
DILATED = block_options(2, ops.gelu, dilation=2)
AXIAL = block_options(2, tf.nn.relu, axial=True, num_heads=2, max_span=4)
FEATURES = {4: (17, 9, 3), 8: (9, 5, 4), 16: (5, 3, 5), 32: (3, 2, 6)}


NORM = with_defaults(batch_norm.BatchNormFactory)


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer to test.

    Attributes:
      make: name -> the layer.
      inputs: shapes without the batch axis, in the structure of the layer's arguments.
    """

    make: Callable[..., keras.layers.Layer]
    inputs: Sequence[Any]


def _aspp(name="aspp"):
    return semantic_branch.AtrousSpatialPyramidPooling(4, [1, 2], 0.1, NORM, name=name)


def _semantic_decoder(name):
    return semantic_branch.SemanticDecoder(
        5, 4, _aspp(), [(8, 3), (4, 2)], tf.nn.relu, NORM, name=name
    )


def _resnet(make_stem, name, **options):
    stages = [[CONVOLUTION], [CONVOLUTION, AXIAL], [CONVOLUTION], [AXIAL]]
    return with_defaults(
        resnet.ResNet,
        stem=make_stem(name="stem"),
        stages=stages,
        batch_norm=NORM,
        name=name,
        **options,
    )


def _convnext_stage(name):
    blocks = [convnext.ConvNeXtBlock(6, 1.0, 0.9, name=f"block{i}") for i in (1, 2)]
    return convnext.ConvNeXtStage(blocks, False, name=name)


ONE_CONV = partial(layers.ConvBN, 3, NORM, 7, 2)
THREE_CONV = partial(resnet.ThreeConvStem, 2, tf.nn.relu, NORM)
# More channels than elsewhere: where two or three are nearly the same, a layer normalization
# divides rounding, too, by next to nothing.
CONVNEXT = partial(with_defaults, convnext.ConvNeXt, channels=[6, 7, 8, 9])
PIXEL_STAGES = [[AXIAL], [AXIAL] * 2, [CONVOLUTION], [DILATED]]
CASES = {
    "BatchNorm": Case(batch_norm.BatchNorm, [(5, 4, 3)]),
    "BatchNorm-unfused": Case(batch_norm.BatchNorm, [(5, 3)]),
    "BatchNorm-unbiased": Case(partial(batch_norm.BatchNorm, unbiased=True), [(5, 4, 3)]),
    "LayerNorm": Case(layers.LayerNorm, [(5, 4, 3)]),
    "Convolution": Case(
        partial(convolutions.Convolution, 4, 3, padding="same", dilation_rate=2), [(5, 4, 3)]
    ),
    "DenseGelu": Case(partial(convolutions.DenseGelu, 4), [(5, 4, 3)]),
    "DepthwiseConvolution": Case(partial(convolutions.DepthwiseConvolution, 3), [(5, 4, 3)]),
    "ConvBN": Case(partial(layers.ConvBN, 4, NORM, 3, 2, activation=ops.gelu), [(9, 5, 3)]),
    "DepthwiseBN": Case(partial(layers.DepthwiseBN, 3, NORM), [(5, 4, 3)]),
    "SeparableConvBN": Case(partial(layers.SeparableConvBN, 4, 3, NORM), [(5, 4, 3)]),
    "DenseBN": Case(partial(layers.DenseBN, 4, NORM, tf.nn.relu), [(5, 3)]),
    "DropPath": Case(partial(layers.DropPath, 0.5), [(5, 4, 3)]),
    "AxisAttention": Case(partial(axial_attention.AxisAttention, 4, 8, 2, 5, NORM), [(7, 3)]),
    "AxialAttention": Case(partial(axial_attention.AxialAttention, 4, NORM, 2, 9, 2), [(5, 7, 3)]),
    "ResidualBlock": Case(partial(residual.ResidualBlock, CONVOLUTION, NORM, 2), [(5, 7, 3)]),
    "ResidualBlock-dilated": Case(partial(residual.ResidualBlock, DILATED, NORM), [(5, 7, 3)]),
    "ResidualBlock-axial": Case(partial(residual.ResidualBlock, AXIAL, NORM), [(5, 3, 8)]),
    "ResidualStage": Case(
        partial(residual.ResidualStage, [AXIAL, CONVOLUTION], NORM, 2), [(5, 7, 3)]
    ),
    "ResNet": Case(partial(_resnet, ONE_CONV), [(33, 65, 3)]),
    "ResNet-max-pool": Case(partial(_resnet, THREE_CONV, max_pool=True), [(33, 65, 3)]),
    "ThreeConvStem": Case(THREE_CONV, [(9, 5, 3)]),
    "Downsample": Case(partial(convnext.Downsample, 4), [(5, 3, 3)]),
    "Downsample-stem": Case(partial(convnext.Downsample, 4, stem=True), [(9, 5, 3)]),
    "ConvNeXtBlock": Case(partial(convnext.ConvNeXtBlock, 6, 1.0, 0.9), [(5, 7, 6)]),
    "ConvNeXtStage": Case(_convnext_stage, [(5, 7, 6)]),
    "ConvNeXt": Case(partial(CONVNEXT, blocks=[1, 2, 1, 1], layer_scale=1.0), [(33, 65, 3)]),
    "ConvNeXt-stride-2": Case(
        partial(CONVNEXT, blocks=[1] * 4, stem_to_stride_2=True), [(33, 65, 3)]
    ),
    "Fuse": Case(partial(pixel_decoder.Fuse, 3, NORM), [[(3, 2, 5), (5, 3, 4)]]),
    "Fuse-unprojected": Case(partial(pixel_decoder.Fuse, 3, NORM), [[(3, 2, 3), (5, 3, 3)]]),
    "PixelDecoder": Case(partial(pixel_decoder.PixelDecoder, PIXEL_STAGES, NORM), [FEATURES]),
    "KMeansAttention": Case(
        partial(kmeans_attention.KMeansAttention, 4, NORM), [(8, 4), (5, 3, 6), (5, 3, 8)]
    ),
    "SelfAttention": Case(partial(attention.SelfAttention, BLOCK_OPTIONS, NORM), [(5, 8)]),
    "SoftmaxAttention": Case(
        partial(attention.SoftmaxAttention, BLOCK_OPTIONS, NORM), [(5, 8), (5, 3, 6), (5, 3, 5)]
    ),
    "KMaXBlock": Case(
        partial(transformer_decoder.KMaXBlock, BLOCK_OPTIONS, HEAD_OPTIONS, NORM),
        [(5, 8), (5, 3, 4)],
    ),
    "TransformerDecoder": Case(
        partial(
            transformer_decoder.TransformerDecoder, 5, [32, 16], BLOCK_OPTIONS, HEAD_OPTIONS, NORM
        ),
        [FEATURES],
    ),
    "PixelHead": Case(partial(heads.PixelHead, HEAD_OPTIONS, NORM), [(5, 3, 4)]),
    "MaskHead": Case(partial(heads.MaskHead, HEAD_OPTIONS, NORM), [(5, 3, 4), (6, 8)]),
    "ClassHead": Case(partial(heads.ClassHead, HEAD_OPTIONS), [(6, 8)]),
    "PredictionHeads": Case(
        partial(heads.PredictionHeads, HEAD_OPTIONS, NORM), [(5, 3, 4), (6, 8), (6, 8)]
    ),
    "AtrousSpatialPyramidPooling": Case(_aspp, [(5, 3, 6)]),
    "SemanticHead": Case(partial(semantic_branch.SemanticHead, 5, 4, NORM), [FEATURES]),
    "SemanticDecoder": Case(_semantic_decoder, [FEATURES]),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def case(request):
    """Each layer in turn."""
    return request.param


@pytest.fixture(scope="module")
def layer(case):
    """The layer with random weights, which tests leave as they are."""
    return built(case)


@pytest.fixture(scope="module")
def inputs(case):
    return random_inputs(case)


@pytest.fixture(scope="module")
def outputs(layer, inputs):
    """Of inference, eagerly."""
    return layer(*inputs)


def is_shape(structure):
    return isinstance(structure, tuple) and all(isinstance(side, int) for side in structure)


def map_shapes(function, structure):
    """Applies a function to every shape of a case's inputs."""
    if is_shape(structure):
        return function(structure)
    if isinstance(structure, dict):
        return {key: map_shapes(function, value) for key, value in structure.items()}
    return [map_shapes(function, value) for value in structure]


def random_inputs(case):
    rng = np.random.default_rng(0)
    return map_shapes(
        lambda shape: tf.constant(rng.normal(size=(BATCH, *shape)), tf.float32), case.inputs
    )


def built(case, seed=0):
    """Returns the layer with random weights (no scale is zero, so that nothing is switched off)."""
    layer = case.make(name="x")
    layer(*random_inputs(case))
    randomize(layer, seed)
    return layer


def assert_same(found, expected, tolerance):
    """Compares to a share of the largest value, by which sums are rounded that come out small."""
    tf.nest.assert_same_structure(found, expected)
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=tolerance * scale)


def layer_classes():
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(kmax_tf.model.__path__, "kmax_tf.model.")
    ]
    return {
        name
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, keras.layers.Layer)
        and not issubclass(value, keras.Model)
        and value.__module__ == module.__name__
    }


def test_every_layer_class_has_a_case():
    """But for base classes, and for what takes the place of a normalization in a folded model."""
    assert {name.split("-")[0] for name in CASES} == layer_classes() - {
        "Affine",
        "Attention",
        "Backbone",
        "Stage",
    }


def test_symbolic_equals_eager(case, layer, inputs, outputs):
    """Sizes are unknown when the graph is made, as for a model of any input size."""

    def placeholder(shape):
        # Centers keep their number: [N, C]; features [H, W, C] have any size.
        return keras.Input((None, None, shape[-1]) if len(shape) == 3 else shape)

    symbolic = map_shapes(placeholder, case.inputs)
    model = keras.Model(tf.nest.flatten(symbolic), layer(*symbolic))
    assert_same(model(tf.nest.flatten(inputs)), outputs, 1e-5)


def test_function_equals_eager(layer, inputs, outputs):
    assert_same(tf.function(layer)(*inputs), outputs, 1e-5)


def test_xla_equals_eager(layer, inputs, outputs):
    assert_same(tf.function(layer, jit_compile=True)(*inputs), outputs, 1e-4)


def test_output_of_an_example_does_not_depend_on_the_others(layer, inputs, outputs):
    alone = layer(*tf.nest.map_structure(lambda x: x[:1], inputs))
    assert_same(alone, tf.nest.map_structure(lambda x: x[:1], outputs), 1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_mixed_bfloat16_is_finite_and_keeps_float32_variables(case, training):
    with precision("mixed_bfloat16"):
        layer = built(case)
    assert {variable.dtype for variable in layer.variables} <= {tf.float32}
    for output in tf.nest.flatten(layer(*random_inputs(case), training=training)):
        assert np.isfinite(tf.cast(output, tf.float32)).all()


def test_gradient_reaches_every_variable(layer, inputs):
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(*inputs))
        loss = tf.add_n([tf.reduce_sum(tf.sin(3.0 * x + 1.0)) for x in outputs])
    gradients = tape.gradient(loss, layer.trainable_variables)
    for variable, gradient in zip(layer.trainable_variables, gradients):
        assert gradient is not None, variable.name
        # An offset of all logits of a softmax changes nothing.
        if not variable.name.endswith("batch_norm_similarity/beta:0"):
            assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-6, variable.name


def test_training_moves_every_statistic(layer, inputs):
    statistics = layer.non_trainable_variables
    before = [variable.numpy() for variable in statistics]
    layer(*inputs, training=True)
    after = [variable.numpy() for variable in statistics]
    for variable, old, new in zip(statistics, before, after):
        variable.assign(old)
        assert (new != old).any(), variable.name


def test_no_layer_or_variable_names_itself(case, layer):
    """Keras numbers the names that it makes up, so two layers would differ."""
    first, second = layer, built(case)
    for layers_or_variables in ("submodules", "variables"):
        names = [
            [item.name for item in getattr(layer, layers_or_variables)] for layer in (first, second)
        ]
        assert names[0] == names[1]
    names = [variable.name for variable in first.variables]
    assert len(set(names)) == len(names)


def test_layers_are_named_like_their_attributes(layer):
    """And so like their checkpoint keys; those in lists are numbered or named by what they do."""
    for part in [layer, *layer.submodules]:
        if not type(part).__module__.startswith("kmax_tf."):
            continue
        for attribute, value in vars(part).items():
            if isinstance(value, keras.layers.Layer):
                assert attribute == value.name, type(part).__name__


def test_checkpoint_survives_a_round_trip(case, layer, inputs, outputs, tmp_path):
    saved, restored = layer, built(case, seed=2)
    path = tf.train.Checkpoint(layer=saved).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(layer=restored).read(path).assert_consumed()
    for ours, theirs in zip(restored.variables, saved.variables):
        np.testing.assert_array_equal(ours, theirs)
    assert_same(restored(*inputs), outputs, 0.0)
