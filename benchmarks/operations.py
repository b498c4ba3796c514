"""Operations in their fast form against their definitions: forward, and with all gradients.

One JSON line a case, pass and form; `ratio` is the time over that of the definition, measured in
turns. The sizes are those of the network at 321x321, but for k-means (a side is given), axial
attention (a row of stride 16 and 32 at 641x641) and the dilation by 18, which is of 641x641.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Callable

import tensorflow as tf
from measuring import finished, parser_of, print_line, ratio, summary, time_in_turns

from kmax_tf import ops

Case = tuple[Callable[..., Any], Sequence[Sequence[int]]]
CENTERS = 128


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__, batch=1, threads=2, repeats=21)
    parser.add_argument("cases", nargs="*", help="parts of names; by default all")
    parser.add_argument("--xla", action="store_true")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    for name, (run, shapes) in cases(args.batch).items():
        if not args.cases or any(part in name for part in args.cases):
            measure(args, name, run, shapes)


def cases(batch: int) -> dict[str, Case]:
    """Returns operations with the shapes of their inputs."""

    def convolution(size: int, channels: int, filters: int, kernel: int = 1, **options) -> Case:
        run = functools.partial(ops.convolve, **options)
        return run, [[batch, size, size, channels], [kernel, kernel, channels, filters]]

    def dilated(size: int, step: int) -> Case:
        return convolution(size, 2048, 256, kernel=3, dilation=(step, step))

    def centers(side: int) -> Case:
        return sum_by_best_center, [[batch, side**2, CENTERS], [batch, side**2, 256]]

    def axial(length: int, width: int) -> Case:
        pixels = [batch * length, length, 8, width // 8]
        tables = [length, length, width // 8]
        return axial_attention, [pixels, pixels, pixels, tables, tables, tables]

    features = [batch, 81, 81, 256]
    return {
        "GELU": (ops.gelu, [features]),
        "layer normalization": (
            functools.partial(ops.layer_norm, epsilon=1e-6),
            [features, [256], [256]],
        ),
        "depthwise 5x5": (ops.convolve_depthwise, [features, [5, 5, 256, 1]]),
        "1x1, many pixels": convolution(81, 64, 256),
        "1x1, many channels": convolution(11, 2048, 512),
        "1x1, every second": convolution(41, 512, 1024, strides=(2, 2), padding="VALID"),
        "3x3, dilated by 6": dilated(11, 6),
        "3x3, dilated by 12": dilated(11, 12),
        "3x3, dilated by 18": dilated(21, 18),
        "k-means, 41x41": centers(41),
        "k-means, 81x81": centers(81),
        "k-means, 161x161": centers(161),
        "axial attention, 41 pixels": axial(41, 256),
        "axial attention, 21 pixels": axial(21, 512),
        "softmax of pixels": (pixel_softmax, [[batch, 81**2, CENTERS]]),
        "similarities of pixels": (similarities, [[batch, 4096, 128]]),
    }


def sum_by_best_center(logits: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Assigns and sums, as the k-means update does."""
    return ops.sum_by_center(values, tf.argmax(logits, axis=2, output_type=tf.int32), CENTERS)


def axial_attention(query, key, value, *positions) -> tf.Tensor:
    """Attends, without normalizations."""
    heads, count, length = query.shape[2], query.shape[0], query.shape[1]
    logits = tf.add_n(ops.axial_similarities(query, key, *positions[:2]))
    weights = tf.reshape(tf.nn.softmax(logits), [heads, count, length, length])
    return tf.add_n(ops.axial_values(weights, value, positions[2]))


def pixel_softmax(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives every pixel a target."""
    pixels = tf.broadcast_to(tf.range(logits.shape[1]), logits.shape[:2])
    return ops.softmax_entropy_and_sums(logits, pixels % CENTERS, tf.ones(logits.shape[:2]))


def similarities(vectors: tf.Tensor) -> tf.Tensor:
    """Compares unit vectors."""
    return ops.log_normalizers(tf.math.l2_normalize(vectors, axis=2), temperature=0.3)


def measure(args: argparse.Namespace, name: str, run: Callable[..., Any], shapes: Any) -> None:
    """Measures one case."""
    inputs = [tf.random.stateless_normal(shape, seed=[1, i]) for i, shape in enumerate(shapes)]

    def with_gradients(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = run(*inputs)
        return outputs, tape.gradient(outputs, inputs, unconnected_gradients="zero")

    for passes, function in (("forward", run), ("with gradients", with_gradients)):
        forms = {
            "definition": ops.definitions(),
            "fast": ops.for_gradients(function is with_gradients),
        }
        runs = {form: compiled(args, function, inputs, how) for form, how in forms.items()}
        seconds = time_in_turns(runs, args.repeats)
        for form in runs:
            print_line(
                case=name,
                passes=passes,
                form=form,
                batch=args.batch,
                threads=args.threads,
                xla=args.xla,
                **summary(seconds[form]),
                ratio=ratio(seconds[form], seconds["definition"]),
            )


def compiled(args, function, inputs, how: contextlib.AbstractContextManager):
    """Returns what runs a function, traced in a context."""
    with how:
        graph = tf.function(function, jit_compile=args.xla or None, autograph=False)
        concrete = graph.get_concrete_function(*inputs)
    return lambda: finished(concrete(*inputs))


if __name__ == "__main__":
    main()
