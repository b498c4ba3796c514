"""One forward and backward pass of each kind of operation that the experiments use.

For `kmax doctor`: what a machine's TensorFlow has no kernel for shows here, not in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.losses.matching import match_on_host
from kmax_tf.model.batch_norm import BatchNorm
from kmax_tf.ops import for_gradients
from kmax_tf.ops.resizing import resize_bilinear
from kmax_tf.ops.trials import EXAMPLES, Example

PRECISIONS = ("float32", "mixed_bfloat16")
_SHAPE = [2, 9, 9, 8]


def failures(examples: Mapping[str, Example]) -> Iterator[tuple[str, str]]:
    """Yields the name of each operation that fails, and why, in a line."""
    before = keras.mixed_precision.global_policy()
    for precision in PRECISIONS:
        keras.mixed_precision.set_global_policy(precision)
        try:
            for name, example in examples.items():
                reason = _failure(example)
                if reason:
                    yield f"{name} in {precision.replace('mixed_', '')}", reason
        finally:
            keras.mixed_precision.set_global_policy(before)


def _failure(example: Example) -> str:
    """Returns why an operation fails, in a line; empty where it doesn't."""
    dtype = keras.mixed_precision.global_policy().compute_dtype
    inputs = [
        tf.cast(tf.random.stateless_normal(shape, seed=[1, 2]), dtype) for shape in example.shapes
    ]

    @tf.function(autograph=False)
    def run(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.nest.flatten(example.run(*inputs))
            total = tf.add_n([tf.reduce_sum(tf.sin(tf.cast(x, tf.float32))) for x in outputs])
        return [*outputs, *tape.gradient(total, inputs)]

    try:
        # The graph itself: calls of many functions look like retracing to TensorFlow, which warns.
        with for_gradients():
            graph = run.get_concrete_function(inputs)
        values = graph(inputs)
        if any(value is None for value in values):
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


def operations() -> dict[str, Example]:
    """Returns the operations by name: those of the project, and what the library does for it."""
    norm = BatchNorm()
    norm.build(_SHAPE)
    functions: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
        "batch normalization": lambda x: norm(x, training=True),
        "max pooling": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
        "resizing": lambda x: resize_bilinear(x, (17, 17)),
        "matrix product": lambda x: tf.matmul(x, x, transpose_a=True),
        "softmax": tf.nn.softmax,
        "matching": _matched,
    }
    return {**EXAMPLES, **{name: Example(run, [_SHAPE]) for name, run in functions.items()}}


def _matched(x: tf.Tensor) -> tf.Tensor:
    """Returns rows [B, W, C] with what each is matched to added, which has no gradient."""
    rows = x[:, 0]
    valid = tf.ones(rows.shape[:2], tf.bool)
    matching = match_on_host(tf.cast(rows, tf.float32), valid)
    return rows + tf.cast(matching.center_of_segment, x.dtype)[..., tf.newaxis]
