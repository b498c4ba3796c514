"""Sums over the pixels of segments, and reading rows: each is the other's gradient.

TensorFlow's own gradients of these operations make dozens of small ones for shapes and indices.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
import tensorflow as tf


def segment_sums(values: tf.Tensor, segments: tf.Tensor, num_segments: int) -> tf.Tensor:
    """Sums the values of each segment's pixels.

    Args:
      values: [B, P, ...], of known sizes from the third on.
      segments: [B, P] int32; -1 is left out.
      num_segments: M.

    Returns:
      [B, M, ...].
    """
    present = segments >= 0

    @tf.custom_gradient
    def compute(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        sizes = values.shape[2:]
        batch = segments.shape[0]
        examples = tf.range(tf.shape(segments)[0]) if batch is None else np.arange(batch)
        offsets = tf.cast(examples * num_segments, tf.int32)[:, tf.newaxis]
        rows = tf.where(present, segments + offsets, -1)
        sums = tf.math.unsorted_segment_sum(
            tf.reshape(values, [-1, *sizes]),
            tf.reshape(rows, [-1]),
            tf.size(examples) * num_segments if batch is None else batch * num_segments,
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            read = tf.gather(upstream, tf.maximum(segments, 0), batch_dims=1)  # [B, P, ...]
            given = tf.reshape(present, [*_sizes(segments), *[1] * len(sizes)])
            return tf.where(given, read, tf.zeros([], read.dtype))

        return tf.reshape(sums, [-1 if batch is None else batch, num_segments, *sizes]), gradient

    return compute(values)


def read_rows(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Reads rows of each example.

    Args:
      values: [B, P, ...], of known sizes from the second on.
      indices: [B, S] int32.

    Returns:
      [B, S, ...].
    """

    @tf.custom_gradient
    def compute(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return segment_sums(upstream, indices, values.shape[1])

        return tf.gather(values, indices, batch_dims=1), gradient

    return compute(values)


def _sizes(x: tf.Tensor) -> list[int]:
    """Returns the sizes of [B, S], that of the batch as -1 where it isn't known."""
    batch, others = x.shape
    return [-1 if batch is None else batch, others]
