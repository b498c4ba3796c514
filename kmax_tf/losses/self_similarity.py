"""How similar each vector of a set is to all of them, with half the work that it seems to take."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

_BLOCKS = 8


def log_normalizers(vectors: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns log sum_j exp(v_i . v_j / temperature), the normalizers of a contrastive loss.

    The similarities are symmetric, so only those on and above the diagonal are computed, in blocks
    of rows. They are kept for the gradient, which is one product with them:
    d_i = sum_j (g_i / Z_i + g_j / Z_j) exp(v_i . v_j / temperature) v_j / temperature.

    Args:
      vectors: [B, S, D] float32 of static S, of about the same length (unit, in the loss).
      temperature: divides the similarities.

    Returns:
      [B, S].
    """

    @tf.custom_gradient
    def compute(vectors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        count = vectors.shape[1]
        size = -(-count // _BLOCKS)
        starts = range(0, count, size)
        largest = tf.reduce_max(tf.reduce_sum(vectors * vectors, axis=-1)) / temperature
        scaled = vectors / temperature
        blocks, sums = [], []
        for start in starts:
            rows = slice(start, start + size)
            block = tf.matmul(scaled[:, rows], vectors[:, start:], transpose_b=True)
            block = tf.exp(block - largest)
            blocks.append(block)  # [B, size, S - start]
            row_sums = tf.reduce_sum(block, axis=2)
            later = tf.reduce_sum(block, axis=1)[:, size:]  # what they add to later rows
            sums.append(tf.pad(tf.concat([row_sums, later], axis=1), [[0, 0], [start, 0]]))
        normalizers = tf.add_n(sums)  # [B, S]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            weights = upstream / normalizers / temperature
            parts = []
            for start, block in zip(starts, blocks):
                rows = slice(start, start + size)
                pairs = block * (weights[:, rows, tf.newaxis] + weights[:, tf.newaxis, start:])
                here = tf.matmul(pairs, vectors[:, start:])
                later = tf.matmul(pairs, vectors[:, rows], transpose_a=True)[:, size:]
                parts.append(tf.pad(tf.concat([here, later], axis=1), [[0, 0], [start, 0], [0, 0]]))
            return tf.add_n(parts)

        return tf.math.log(normalizers) + largest, gradient

    return tf.ensure_shape(compute(vectors), vectors.shape[:2])
