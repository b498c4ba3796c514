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
PIXELS = HEIGHT * WIDTH


def network(*layers):
    return keras.Sequential([keras.Input([None, None, 3]), *layers])


def count(model):
    return multiply_adds(model, HEIGHT, WIDTH)


def convolution(*kernel, **options):
    return lambda images, training: tf.nn.conv2d(
        images, tf.ones(kernel), **{"strides": 1, "padding": "SAME", **options}
    )


def einsum(equation, *shape):
    return lambda images, training: tf.einsum(equation, images, tf.ones(shape))


# Of each output of a convolution: kernel height * width * input channels, of its group.
PRODUCTS = {
    "convolution": (convolution(4, 2, 3, 5), PIXELS * 5 * (4 * 2 * 3)),
    "of a layer": (network(keras.layers.Conv2D(5, (4, 2))), 6 * 12 * 5 * (4 * 2 * 3)),
    "strided": (convolution(4, 2, 3, 5, strides=(2, 3)), 5 * 5 * 5 * (4 * 2 * 3)),
    "dilated": (convolution(3, 3, 3, 7, dilations=5), PIXELS * 7 * (3 * 3 * 3)),
    "grouped": (convolution(4, 2, 1, 6), PIXELS * 6 * (4 * 2 * 1)),
    "depthwise": (network(keras.layers.DepthwiseConv2D(3, padding="same")), PIXELS * 3 * (3 * 3)),
    "depthwise, strided": (
        network(keras.layers.DepthwiseConv2D(5, 2, depth_multiplier=4, padding="same")),
        5 * 7 * (3 * 4) * (5 * 5),
    ),
    "dense": (
        network(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)),
        3 * 10,
    ),
    "dense, of pixels": (network(keras.layers.Dense(10)), PIXELS * (3 * 10)),
    "einsum": (einsum("bhwc,cd->bhwd", 3, 11), PIXELS * 3 * 11),
    "einsum of a batch": (einsum("bhwc,bnc->bhwn", 1, 8, 3), PIXELS * 3 * 8),
    "einsum to a number": (einsum("bhwc,bhwc->b", 1, HEIGHT, WIDTH, 3), PIXELS * 3),
    "einsum that sums nothing": (einsum("bhwc,w->bhwc", WIDTH), PIXELS * 3),
    "einsum of some axes": (einsum("...c,cd->...d", 3, 11), PIXELS * 3 * 11),
    "einsum of axes in between": (einsum("b...c,dc->bd...", 11, 3), PIXELS * 3 * 11),
    "einsum of one tensor": (lambda images, training: tf.einsum("bhwc->bc", images), 0),
    "no products": (
        network(
            keras.layers.BatchNormalization(),
            keras.layers.Activation("gelu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Softmax(),
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_operations(name):
    model, expected = PRODUCTS[name]
    assert count(model) == expected


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_products(transpose_a, transpose_b):
    """[a, b] times [b, c] has a * b * c, however the factors are stored, and times the batch."""
    left = tf.ones([6, 4] if transpose_a else [4, 6])
    right = tf.ones([7, 6] if transpose_b else [6, 7])
    transposes = {"transpose_a": transpose_a, "transpose_b": transpose_b}

    def plain(images, training):
        return tf.matmul(left * images[0, 0, 0, 0], right, **transposes)

    def batched(images, training):
        batch = tf.ones([1, PIXELS, 1, 1]) * images[0, 0, 0, 0]
        return tf.matmul(batch * left, right, **transposes)

    assert count(plain) == 4 * 6 * 7
    assert count(batched) == PIXELS * 4 * 6 * 7


def test_only_what_masks_and_classes_need_counts_and_once():
    def model(images, training):
        assert not training
        shared = convolution(1, 1, 3, 2)(images, training)
        semantic = convolution(3, 3, 3, 100)(images, training)
        return {
            "mask_logits": shared + 1,
            "class_logits": shared * 2,
            "semantic_logits": semantic,
        }

    assert count(model) == PIXELS * 3 * 2


@pytest.mark.parametrize("form", [contextlib.nullcontext, ops.definitions])
def test_sums_of_pixels_have_no_products_however_they_are_written(form):
    def model(images, training):
        values = tf.reshape(images, [1, PIXELS, 3])
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
        return tf.matmul(bright, tf.ones([3, 4]))

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
