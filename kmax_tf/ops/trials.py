"""An example of each operation: what `kmax doctor` tries, and tests compare with definitions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import tensorflow as tf

from kmax_tf import ops


class Example(NamedTuple):
    """An operation with its inputs.

    Attributes:
      run: numbers of any type -> a tensor, or several, with gradients by all inputs.
      shapes: of the inputs.
      open_axes: first axes of the first input, whose sizes may be unknown.
    """

    run: Callable[..., Any]
    shapes: Sequence[Sequence[int]]
    open_axes: int = 3


_FEATURES = [2, 9, 7, 8]  # [B, H, W, C]
_PIXELS = [2, 40, 5]  # [B, P, C]
_AXIS = [3, 6, 2, 4]  # [n, L, heads, d]
_POSITIONS = [6, 6, 4]  # [L, L, d]


def convolution(size: Sequence[int], kernel: Sequence[int], **options: Any) -> Example:
    """Returns one of 8 to 6 channels."""
    run = functools.partial(ops.convolve, **options)
    return Example(run, [[2, *size, 8], [*kernel, 8, 6]])


def depthwise(kernel: Sequence[int]) -> Example:
    """Returns a depthwise convolution."""
    return Example(ops.convolve_depthwise, [_FEATURES, [*kernel, 8, 1]])


def similarities(count: int, temperature: float) -> Example:
    """Returns that of so many unit vectors to themselves."""

    def run(x: tf.Tensor) -> tf.Tensor:
        vectors = tf.cast(x, tf.float32)
        lengths = tf.norm(tf.stop_gradient(vectors), axis=-1, keepdims=True)
        return ops.log_normalizers(vectors / lengths, temperature)

    return Example(run, [[2, count, 6]], open_axes=1)


def _indices(x: tf.Tensor, least: int, count: int) -> tf.Tensor:
    """Returns numbers from the least on, one a pixel, [B, P], in no order."""
    shape = tf.shape(x)[:2]
    numbers = tf.reshape(tf.range(shape[0] * shape[1]), shape)
    return numbers * 7 % count + least


def _pixel_softmax(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    labeled = tf.cast(_indices(x, 0, 4) > 0, tf.float32)
    return ops.softmax_entropy_and_sums(tf.cast(x, tf.float32), _indices(x, -1, 6), labeled)


EXAMPLES = {
    "GELU": Example(ops.gelu, [_FEATURES]),
    "layer normalization": Example(
        functools.partial(ops.layer_norm, epsilon=1e-6), [_FEATURES, [8], [8]]
    ),
    "convolution": convolution([9, 7], [3, 3]),
    "strided convolution": convolution([9, 7], [3, 3], strides=(2, 2), padding="VALID"),
    "dilated convolution": convolution([9, 7], [3, 3], dilation=(2, 2)),
    "1x1 convolution": convolution([9, 7], [1, 1]),
    "strided 1x1 convolution": convolution([9, 7], [1, 1], strides=(2, 2), padding="VALID"),
    "1x1 convolution with GELU": Example(ops.project_to_gelu, [_FEATURES, [8, 6], [6]]),
    "depthwise convolution": depthwise([5, 5]),
    "similarities of axial attention": Example(
        ops.axial_similarities, [_AXIS, _AXIS, _POSITIONS, _POSITIONS], open_axes=1
    ),
    "values of axial attention": Example(
        ops.axial_values, [[2, 3, 6, 6], _AXIS, _POSITIONS], open_axes=0
    ),
    "sums by center": Example(
        lambda x: ops.sum_by_center(x, _indices(x, 0, 6), 6), [_PIXELS], open_axes=2
    ),
    "sums by segment": Example(
        lambda x: ops.segment_sums(x, _indices(x, -1, 6), 6), [_PIXELS], open_axes=2
    ),
    "reading rows": Example(
        lambda x: ops.read_rows(x, _indices(x[:, :17], 0, 40)), [_PIXELS], open_axes=1
    ),
    "softmax of pixels": Example(_pixel_softmax, [_PIXELS], open_axes=2),
    "similarities of pixels": similarities(21, temperature=0.3),
}
