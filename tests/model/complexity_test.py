"""Multiply-adds read off graphs: exact counts of single operations, and of a whole model."""

from __future__ import annotations

import contextlib
import math

import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.complexity import multiply_adds
from tests.model.building import build_with_zeros
from tests.training.tiny import tiny_experiment

HEIGHT, WIDTH = 9, 13


def network(*layers):
    return keras.Sequential([keras.Input([None, None, 3]), *layers])


def count(model):
    return multiply_adds(model, HEIGHT, WIDTH)


def weights(*shape):
    return tf.ones(shape)


CONVOLUTIONS = {
    "convolution": ({}, HEIGHT * WIDTH * 5 * (4 * 2 * 3)),
    "without bias": ({"use_bias": False}, HEIGHT * WIDTH * 5 * (4 * 2 * 3)),
    "valid": ({"padding": "valid"}, 6 * 12 * 5 * (4 * 2 * 3)),
    "strided": ({"strides": (2, 3)}, 5 * 5 * 5 * (4 * 2 * 3)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name):
    """Of each output: kernel height * width * input channels."""
    options, expected = CONVOLUTIONS[name]
    layer = keras.layers.Conv2D(
        **{"filters": 5, "kernel_size": (4, 2), "padding": "same", **options}
    )
    assert count(network(layer)) == expected


@pytest.mark.parametrize("dilation", [1, 2, 5])
def test_dilation_adds_nothing(dilation):
    def dilated(images, training):
        return tf.nn.conv2d(images, weights(3, 3, 3, 7), 1, "SAME", dilations=dilation)

    assert count(dilated) == HEIGHT * WIDTH * 7 * (3 * 3 * 3)


def test_grouped_convolution():
    """A filter reads the channels of its group only."""
    kernel = weights(4, 2, 1, 6)
    assert count(lambda x, training: tf.nn.conv2d(x, kernel, 1, "SAME")) == (
        HEIGHT * WIDTH * 6 * (4 * 2 * 1)
    )


def test_depthwise_convolution():
    """Of each output: kernel height * width, as it reads one channel."""
    plain = keras.layers.DepthwiseConv2D(3, padding="same")
    assert count(network(plain)) == HEIGHT * WIDTH * 3 * (3 * 3)
    strided = keras.layers.DepthwiseConv2D(5, strides=2, depth_multiplier=4, padding="same")
    assert count(network(strided)) == 5 * 7 * (3 * 4) * (5 * 5)


def test_dense():
    """Of each output: its inputs; on images, at each pixel."""
    pooled = keras.layers.GlobalAveragePooling2D()
    assert count(network(pooled, keras.layers.Dense(10))) == 3 * 10
    assert count(network(keras.layers.Dense(10))) == HEIGHT * WIDTH * (3 * 10)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_products(transpose_a, transpose_b):
    """[a, b] times [b, c] has a * b * c, however the factors are stored, and times the batch."""
    left = weights(*((6, 4) if transpose_a else (4, 6)))
    right = weights(*((7, 6) if transpose_b else (6, 7)))
    transposes = {"transpose_a": transpose_a, "transpose_b": transpose_b}

    def plain(images, training):
        return tf.matmul(left * images[0, 0, 0, 0], right, **transposes)

    def batched(images, training):
        batch = tf.ones([1, HEIGHT * WIDTH, 1, 1]) * images[0, 0, 0, 0]
        return tf.matmul(batch * left, right, **transposes)

    assert count(plain) == 4 * 6 * 7
    assert count(batched) == HEIGHT * WIDTH * 4 * 6 * 7


EINSUMS = {
    "bhwc,cd->bhwd": ((3, 11), HEIGHT * WIDTH * 3 * 11),
    "bhwc,bnc->bhwn": ((1, 8, 3), HEIGHT * WIDTH * 3 * 8),
    "bhwc,bhwc->b": ((1, HEIGHT, WIDTH, 3), HEIGHT * WIDTH * 3),
    "bhwc,w->bhwc": ((WIDTH,), HEIGHT * WIDTH * 3),
    "...c,cd->...d": ((3, 11), HEIGHT * WIDTH * 3 * 11),
    "b...c,dc->bd...": ((11, 3), HEIGHT * WIDTH * 3 * 11),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation):
    shape, expected = EINSUMS[equation]
    assert count(lambda x, training: tf.einsum(equation, x, weights(*shape))) == expected


@pytest.mark.parametrize("equation", ["bhwc->bwhc", "bhwc->bc"])
def test_an_einsum_of_one_tensor_is_no_product(equation):
    assert count(lambda x, training: tf.einsum(equation, x)) == 0


def test_other_operations_have_none():
    model = network(
        keras.layers.BatchNormalization(),
        keras.layers.Activation("gelu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Softmax(),
    )
    assert count(model) == 0


def test_a_small_network_is_the_sum_of_its_layers():
    model = network(
        keras.layers.Conv2D(4, 3, strides=2, padding="same"),  # 5 x 7
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.SeparableConv2D(6, 3, padding="same"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    )
    expected = 5 * 7 * (4 * 27 + 4 * 9 + 6 * 4) + 6 * 10
    assert count(model) == expected
    assert multiply_adds(model, 2 * HEIGHT - 1, WIDTH) == expected + 4 * 7 * (4 * 27 + 36 + 24)


def test_only_what_masks_and_classes_need_counts():
    def model(images, training):
        assert not training
        return {
            "mask_logits": tf.nn.conv2d(images, weights(1, 1, 3, 2), 1, "SAME"),
            "class_logits": images,
            "semantic_logits": tf.nn.conv2d(images, weights(3, 3, 3, 100), 1, "SAME"),
        }

    assert count(model) == HEIGHT * WIDTH * 3 * 2


def test_what_several_outputs_need_counts_once():
    def model(images, training):
        shared = tf.nn.conv2d(images, weights(1, 1, 3, 2), 1, "SAME")
        return {"mask_logits": shared + 1, "class_logits": shared * 2}

    assert count(model) == HEIGHT * WIDTH * 3 * 2


@pytest.mark.parametrize("form", [contextlib.nullcontext, ops.definitions])
def test_sums_of_pixels_have_no_products_however_they_are_written(form):
    def model(images, training):
        values = tf.reshape(images, [1, HEIGHT * WIDTH, 3])
        assignment = tf.argmax(values, axis=-1, output_type=tf.int32)
        with form():
            return ops.sum_by_center(values, assignment, 3)

    assert count(model) == 0


def test_what_cannot_be_looked_into_is_refused():
    called = tf.function(lambda images: tf.matmul(images, images, transpose_b=True))
    with pytest.raises(ValueError, match="calls a function"):
        count(lambda images, training: called(images))


def test_products_of_unknown_size_are_refused():
    def model(images, training):
        bright = tf.boolean_mask(images, images[..., 0] > 0)
        return tf.matmul(bright, weights(3, 4))

    with pytest.raises(ValueError, match="unknown"):
        count(model)


def test_the_whole_model_agrees_with_the_profiler_of_tensorflow():
    experiment = tiny_experiment("model.transformer_decoder.block_strides=[32, 8]")
    experiment.model.ClearField("semantic_branch")
    model = build_with_zeros(experiment)
    traced = tf.function(model).get_concrete_function(tf.TensorSpec([1, 65, 97, 3]))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    report = tf.compat.v1.profiler.profile(
        traced.graph, cmd="op", options={**options, "output": "none"}
    )
    operations = {node.name: node.total_float_ops for node in report.children}
    while report.children:
        (report,) = report.children
        operations[report.name] = report.float_ops
    products = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")
    profiled = sum(operations[name] for name in products) // 2

    centers = experiment.model.transformer_decoder.num_centers
    embedding = experiment.model.heads.embedding_channels
    # The profiler doesn't know einsums: those of mask logits, at strides 32, 8 and 4.
    pixels = sum(math.prod((side - 1) // stride + 1 for side in (65, 97)) for stride in (32, 8, 4))
    masks = pixels * embedding * centers
    # It does count class logits of blocks, which only training reads.
    channels = experiment.model.transformer_decoder.channels
    classes = 2 * centers * channels * (len(experiment.dataset.classes) + 1)
    assert multiply_adds(model, 65, 97) == profiled + masks - classes
