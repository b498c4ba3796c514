"""Sums over the pixels of each center or segment, and reading rows: each is the other's gradient.

TensorFlow's own gradients of these operations make dozens of small ones for shapes and indices.
"""

from __future__ import annotations

import math
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.ops.choice import choose
from kmax_tf.ops.static_shapes import static_or_dynamic_shape


def sum_by_center(values: tf.Tensor, assignment: tf.Tensor, num_centers: int) -> tf.Tensor:
    """Sums the values of each center's pixels: the update step of k-means, as a sum, not a mean.

    Accelerators multiply matrices faster than they scatter; CPUs don't. Sums are made in float32:
    thousands of pixels overflow float16, and in bfloat16 a sum stops growing at some hundred times
    what is added.

    Args:
      values: [B, P, C].
      assignment: [B, P] int32 centers.
      num_centers: N.

    Returns:
      [B, N, C] float32.
    """
    form = choose(_as_product, on_cpus=_one_after_another)
    return form(tf.cast(values, tf.float32), assignment, num_centers)


def segment_sums(values: tf.Tensor, segments: tf.Tensor, num_segments: int) -> tf.Tensor:
    """Sums the values of each segment's pixels.

    Args:
      values: [B, P, ...], of known sizes from the third on.
      segments: [B, P] int32; -1 is left out.
      num_segments: M.

    Returns:
      [B, M, ...].
    """
    return choose(_as_product, anywhere=_one_after_another)(values, segments, num_segments)


def read_rows(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Reads rows of each example.

    Args:
      values: [B, P, ...], of known sizes from the second on.
      indices: [B, S] int32.

    Returns:
      [B, S, ...].
    """
    return choose(_gather, anywhere=_gather_with_gradient)(values, indices)


def in_turn(
    value_of: Callable[[tf.Tensor], tf.Tensor], batch: int, count: int, dtype: tf.DType
) -> tf.Tensor:
    """Returns [B, count]: what a function of a scalar int32 number, [B], is for each below count.

    It is a loop, for runtimes that don't know how to scatter.
    """

    def add(number: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value = value_of(number)[:, tf.newaxis]
        return number + 1, tf.where(tf.range(count) == number, value, values)

    start = [tf.constant(0), tf.zeros([batch, count], dtype)]
    return tf.while_loop(lambda number, _: number < count, add, start)[1]


def _as_product(values: tf.Tensor, rows: tf.Tensor, count: int) -> tf.Tensor:
    """Multiplies with the one-hot assignment."""
    batch, pixels, *sizes = static_or_dynamic_shape(values)
    one_hot = tf.one_hot(rows, count, dtype=values.dtype)  # [B, P, N]
    flat = tf.reshape(values, [batch, pixels, math.prod(sizes)])  # [B, P, C]
    sums = tf.matmul(one_hot, flat, transpose_a=True)  # [B, N, C]
    return tf.reshape(sums, [batch, count, *sizes])


def _one_after_another(values: tf.Tensor, rows: tf.Tensor, count: int) -> tf.Tensor:
    present = rows >= 0

    @tf.custom_gradient
    def compute(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        sizes = values.shape[2:]
        batch = rows.shape[0]
        examples = tf.range(tf.shape(rows)[0]) if batch is None else np.arange(batch)
        offsets = tf.cast(examples * count, tf.int32)[:, tf.newaxis]
        sums = tf.math.unsorted_segment_sum(
            tf.reshape(values, [-1, *sizes]),
            tf.reshape(tf.where(present, rows + offsets, -1), [-1]),
            tf.size(examples) * count if batch is None else batch * count,
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            read = tf.gather(upstream, tf.maximum(rows, 0), batch_dims=1)  # [B, P, ...]
            given = present
            for _ in sizes:
                given = tf.expand_dims(given, -1)
            return tf.where(given, read, tf.zeros([], read.dtype))

        return tf.reshape(sums, [-1 if batch is None else batch, count, *sizes]), gradient

    return compute(values)


def _gather(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, indices, batch_dims=1)


def _gather_with_gradient(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def compute(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _one_after_another(upstream, indices, values.shape[1])

        return _gather(values, indices), gradient

    return compute(values)
