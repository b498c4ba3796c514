"""How similar each vector of a set is to all of them: the normalizers of a contrastive loss."""

from __future__ import annotations

import math
from typing import Callable

import tensorflow as tf

from kmax_tf.ops.choice import choose

# How often the set is halved: of all pairs, 9/16 are computed then.
_HALVINGS = 3
# Exponentials of this much, a million of them added up and squared, are within float32.
_SAFE_EXPONENT = 30.0


def log_normalizers(vectors: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns log sum_j exp(v_i . v_j / temperature).

    Args:
      vectors: [B, S, D] float32 of static S and D, none longer than 1.
      temperature: divides the similarities.

    Returns:
      [B, S].
    """
    return choose(_definition, anywhere=_each_pair_once)(vectors, temperature)


def _definition(vectors: tf.Tensor, temperature: float) -> tf.Tensor:
    similarity = tf.matmul(vectors, vectors, transpose_b=True) / temperature  # [B, S, S]
    return tf.reduce_logsumexp(similarity, axis=2)


def _each_pair_once(vectors: tf.Tensor, temperature: float) -> tf.Tensor:
    """Computes each similarity once, as they are symmetric: half the work that it seems to take.

    First those between the two halves of the set, then those between the halves of each half, and
    so on; last, all of each small set to itself. Their exponentials come from a softmax, which is
    quicker than the function and has the sums of rows as well: the exponential of any entry over
    its share is the sum of its row. They are kept for the gradient, which is one product with them:
    d_i = sum_j (g_i / Z_i + g_j / Z_j) exp(v_i . v_j / temperature) v_j / temperature.
    """
    given, depth = vectors.shape[1:]
    padding = -given % 2**_HALVINGS  # with zeros, to each of which all are similar by exp(0)
    count = given + padding
    offset = max(0.0, 1.0 / temperature - _SAFE_EXPONENT)  # no exponent is above 1 / temperature

    def similar(left: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns rows' exponentials, each row over its sum, [B', n, m], and the sums, [B', n]."""
        logits = tf.matmul(left / temperature, right, transpose_b=True)
        shares = tf.nn.softmax(logits)
        if offset:  # the share of an entry may be 0, but not that of the largest
            logit, share = tf.reduce_max(logits, axis=2), tf.reduce_max(shares, axis=2)
        else:
            logit, share = logits[:, :, 0], shares[:, :, 0]
        return shares, tf.exp(logit - offset) / share

    @tf.custom_gradient
    def compute(vectors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        sets = tf.reshape(vectors, [-1, count // 2**_HALVINGS, depth])
        pairs = [similar(*_halves(vectors, level)) for level in range(_HALVINGS)]
        shares_inside, sums_inside = similar(sets, sets)
        sums = [_joined([rows, _column_sums(shares, rows)], [count]) for shares, rows in pairs]
        sums.append(tf.reshape(sums_inside, [-1, count]))
        normalizers = tf.add_n(sums) - padding * math.exp(-offset)  # [B, S]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            weights = upstream / normalizers / temperature  # [B, S]
            parts = []
            for level, (shares, rows) in enumerate(pairs):
                left, right = _halves(vectors, level)
                weighted = shares * _sums_of_pairs(*_halves(weights, level), rows)
                ends = [tf.matmul(weighted, right), tf.matmul(weighted, left, transpose_a=True)]
                parts.append(_joined(ends, [count, depth]))
            of_sets = tf.reshape(weights, [-1, count // 2**_HALVINGS])
            weighted = shares_inside * _sums_of_pairs(of_sets, of_sets, sums_inside)
            parts.append(tf.reshape(tf.matmul(weighted, sets), [-1, count, depth]))
            return tf.add_n(parts)

        return tf.math.log(normalizers) + offset, gradient

    padded = tf.pad(vectors, [[0, 0], [0, padding], [0, 0]]) if padding else vectors
    return tf.ensure_shape(compute(padded)[:, :given], vectors.shape[:2])


def _column_sums(shares: tf.Tensor, sums_of_rows: tf.Tensor) -> tf.Tensor:
    """[B', n, m] and [B', n] -> [B', m]: of the rows times their sums, as one product."""
    return tf.squeeze(tf.matmul(tf.expand_dims(sums_of_rows, 1), shares), 1)


def _halves(values: tf.Tensor, level: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts [B, S, ...] into 2^level sets; returns their first and second halves, [B', n, ...]."""
    size = values.shape[1] // 2 ** (level + 1)
    first, second = tf.unstack(tf.reshape(values, [-1, 2, size, *values.shape[2:]]), axis=1)
    return first, second


def _joined(halves: list[tf.Tensor], shape: list[int]) -> tf.Tensor:
    """Undoes `_halves`: [B', n, ...] twice -> [B, *shape]."""
    return tf.reshape(tf.stack(halves, axis=1), [-1, *shape])


def _sums_of_pairs(left: tf.Tensor, right: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """[B', n], [B', m], [B', n] -> [B', n, m]: (left_i + right_j) * scale_i, as one product."""
    columns = tf.stack([left * scale, scale], axis=2)
    return tf.matmul(columns, tf.stack([tf.ones_like(right), right], axis=1))
