"""The sums of position-sensitive axial attention (Axial-DeepLab, arXiv 2003.07853, equation 4).

n rows or columns of L pixels, d channels a head; positions are tables [L, L, d] that have, for a
query at l and a key at m, the row of the distance m - l.
"""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.ops.choice import choose
from kmax_tf.ops.static_shapes import static_or_dynamic_shape


def axial_similarities(
    query: tf.Tensor, key: tf.Tensor, query_positions: tf.Tensor, key_positions: tf.Tensor
) -> list[tf.Tensor]:
    """Returns what logits are made of: the content, query-position and key-position terms.

    Args:
      query: [n, L, heads, d].
      key: [n, L, heads, d].
      query_positions: [L, L, d].
      key_positions: [L, L, d].

    Returns:
      [heads, n * L, L] each.
    """
    form = choose(_similarities, anywhere=_similarities_by_position)
    return form(query, key, query_positions, key_positions)


def axial_values(
    weights: tf.Tensor, value: tf.Tensor, value_positions: tf.Tensor
) -> list[tf.Tensor]:
    """Returns what is retrieved: its content and position parts.

    Args:
      weights: [heads, n, L, L].
      value: [n, L, heads, d].
      value_positions: [L, L, d].

    Returns:
      [heads, n * L, d] each.
    """
    return choose(_values, anywhere=_values_by_position)(weights, value, value_positions)


def _similarities(
    query: tf.Tensor, key: tf.Tensor, query_positions: tf.Tensor, key_positions: tf.Tensor
) -> list[tf.Tensor]:
    terms = [
        tf.einsum("nlhd,nmhd->hnlm", query, key),
        tf.einsum("nlhd,lmd->hnlm", query, query_positions),
        tf.einsum("nmhd,lmd->hnlm", key, key_positions),
    ]
    return _flat(terms, query.shape[2])


def _similarities_by_position(
    query: tf.Tensor, key: tf.Tensor, query_positions: tf.Tensor, key_positions: tf.Tensor
) -> list[tf.Tensor]:
    """Multiplies plain matrices, for positions one for each pixel of the query, or of the key."""
    content = tf.matmul(_heads_first(query), _heads_first(key), transpose_b=True)
    by_query = tf.matmul(
        _by_position(query), query_positions, transpose_b=True
    )  # [l, heads * n, m]
    by_key = tf.matmul(
        _by_position(key), tf.transpose(key_positions, [1, 0, 2]), transpose_b=True
    )  # [m, heads * n, l]
    terms = [content, tf.transpose(by_query, [1, 0, 2]), tf.transpose(by_key, [1, 2, 0])]
    return _flat(terms, query.shape[2])


def _values(weights: tf.Tensor, value: tf.Tensor, value_positions: tf.Tensor) -> list[tf.Tensor]:
    parts = [
        tf.einsum("hnlm,nmhd->hnld", weights, value),
        tf.einsum("hnlm,lmd->hnld", weights, value_positions),
    ]
    return _flat(parts, value.shape[2])


def _values_by_position(
    weights: tf.Tensor, value: tf.Tensor, value_positions: tf.Tensor
) -> list[tf.Tensor]:
    """Multiplies plain matrices, for positions one for each pixel of the query."""
    content = tf.matmul(weights, _heads_first(value))
    length = static_or_dynamic_shape(weights)[-1]
    by_query = tf.transpose(tf.reshape(weights, [-1, length, length]), [1, 0, 2])
    position = tf.matmul(by_query, value_positions)  # [l, heads * n, d]
    return _flat([content, tf.transpose(position, [1, 0, 2])], value.shape[2])


def _flat(terms: list[tf.Tensor], heads: int) -> list[tf.Tensor]:
    """[heads, n, L, x] or [heads * n, L, x] -> [heads, n * L, x]."""
    return [tf.reshape(term, [heads, -1, static_or_dynamic_shape(term)[-1]]) for term in terms]


def _heads_first(x: tf.Tensor) -> tf.Tensor:
    """[n, L, heads, d] -> [heads, n, L, d]."""
    return tf.transpose(x, [2, 0, 1, 3])


def _by_position(x: tf.Tensor) -> tf.Tensor:
    """[n, L, heads, d] -> [L, heads * n, d]."""
    _, length, _, channels = static_or_dynamic_shape(x)
    return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [length, -1, channels])
