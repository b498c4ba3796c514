"""One forward and backward pass of each kind of operation that the experiments use.

For `kmax doctor`: what a machine's TensorFlow has no kernel for shows here, not in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.config import Experiment, options_of
from kmax_tf.keras_api import keras
from kmax_tf.losses.matching import match_on_host
from kmax_tf.losses.self_similarity import log_normalizers
from kmax_tf.model.axial_attention import AxisAttention
from kmax_tf.model.batch_norm import BatchNorm, BatchNormFactory
from kmax_tf.model.convolutions import Convolution, DepthwiseConvolution
from kmax_tf.model.kmeans_attention import sum_by_segments
from kmax_tf.model.layers import LayerNorm, activate, gelu
from kmax_tf.ops.resizing import resize_bilinear

Operation = Callable[[tf.Tensor], tf.Tensor]
PRECISIONS = ("float32", "mixed_bfloat16")
_SHAPE = [2, 9, 9, 8]


def failures() -> Iterator[tuple[str, str]]:
    """Yields the name of each operation that fails, and why, in a line."""
    before = keras.mixed_precision.global_policy()
    for precision in PRECISIONS:
        keras.mixed_precision.set_global_policy(precision)
        try:
            for name, operation in _operations().items():
                reason = _failure(operation)
                if reason:
                    yield f"{name} in {precision.replace('mixed_', '')}", reason
        finally:
            keras.mixed_precision.set_global_policy(before)


def _failure(operation: Operation) -> str:
    """Returns why an operation fails, in a line; empty where it doesn't."""
    dtype = keras.mixed_precision.global_policy().compute_dtype
    x = tf.cast(tf.random.stateless_normal(_SHAPE, seed=[1, 2]), dtype)

    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = operation(x)
            total = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
        return outputs, tape.gradient(total, x)

    try:
        # The graph itself: calls of many functions look like retracing to TensorFlow, which warns.
        values = run.get_concrete_function(x)(x)
        if values[1] is None:
            return "it has no gradient"
        values = [np.asarray(tf.cast(value, tf.float32)) for value in values]
    except Exception as error:  # whatever TensorFlow raises for what it cannot do
        return f"{type(error).__name__}: {_last_line(error)}"
    return "" if all(np.isfinite(value).all() for value in values) else "it gives no finite numbers"


def _last_line(error: Exception) -> str:
    """Returns the part of a message that says what is wrong: TensorFlow puts the place before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("[[", "File ", "Detected at", "Graph "))]
    return (told or lines or ["no message"])[-1]


def _operations() -> dict[str, Operation]:
    """Returns the operations by name, each of [B, H, W, C]; those of layers train."""

    def trained(layer: keras.layers.Layer) -> Operation:
        layer.build(_SHAPE)
        return lambda x: layer(x, training=True)

    def of_pixels(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [2, 81, 8])  # [B, P, C]

    def matched(x: tf.Tensor) -> tf.Tensor:
        similarity = tf.cast(of_pixels(x)[:, :5], tf.float32)
        return match_on_host(similarity, tf.ones([2, 5], tf.bool)).center_of_segment[
            ..., tf.newaxis
        ]

    attention = AxisAttention(
        8, 8, 2, 9, options_of(BatchNormFactory, Experiment().model.batch_norm), name="attention"
    )
    assignment = tf.tile(tf.range(81)[tf.newaxis] % 5, [2, 1])  # [B, P]
    return {
        "convolution": trained(Convolution(8, 3, padding="same")),
        "strided convolution": trained(Convolution(8, 3, strides=2)),
        "dilated convolution": trained(Convolution(8, 3, padding="same", dilation_rate=2)),
        "1x1 convolution": trained(Convolution(8, 1)),
        "depthwise convolution": trained(DepthwiseConvolution(5)),
        "batch normalization": trained(BatchNorm()),
        "layer normalization": trained(LayerNorm()),
        "GELU": lambda x: activate(gelu, x, True),
        "max pooling": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
        "resizing": lambda x: resize_bilinear(x, (17, 17)),
        "axial attention": lambda x: attention(tf.reshape(x, [18, 9, 8]), training=True),
        "matrix product": lambda x: tf.matmul(of_pixels(x), of_pixels(x), transpose_a=True),
        "softmax": tf.nn.softmax,
        "sum by segments": lambda x: sum_by_segments(assignment, of_pixels(x), 5),
        "similarities of pixels": lambda x: log_normalizers(
            tf.math.l2_normalize(tf.cast(of_pixels(x), tf.float32), axis=-1), temperature=0.3
        ),
        "matching": lambda x: of_pixels(x)[:, :5] + tf.cast(matched(x), x.dtype),
    }
