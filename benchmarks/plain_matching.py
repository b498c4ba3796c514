"""The Hungarian method as textbooks have it, in TensorFlow's loops: for plain_loss.py.

Row and column minima are subtracted; pairs of no cost that remain are a graph, in which paths from
free rows to free columns add pairs one by one; where there is no path, the smallest cost outside
the cover of the graph is subtracted. Every row counts, those of padding too.
"""

from __future__ import annotations

import tensorflow as tf


def match(cost: tf.Tensor) -> tf.Tensor:
    """Returns [B, N] int32: the column of each row of [B, N, N], at the least total cost."""
    return tf.map_fn(_match_one, cost, fn_output_signature=tf.int32)


@tf.function
def _match_one(cost: tf.Tensor) -> tf.Tensor:
    count = cost.shape[0]
    cost -= tf.reduce_min(cost, axis=1, keepdims=True)
    cost -= tf.reduce_min(cost, axis=0, keepdims=True)
    column_of_row = tf.fill([count], -1)
    row_of_column = tf.fill([count], -1)
    while tf.reduce_any(column_of_row < 0):
        rows, columns, parents, end = _search(cost == 0, column_of_row, row_of_column)
        while end >= 0:  # along the path, back to its free row
            row = parents[end]
            before = column_of_row[row]
            row_of_column = tf.tensor_scatter_nd_update(row_of_column, [[end]], [row])
            column_of_row = tf.tensor_scatter_nd_update(column_of_row, [[row]], [end])
            end = before
        free_of_cover = rows[:, tf.newaxis] & ~columns
        twice_covered = ~rows[:, tf.newaxis] & columns
        smallest = tf.reduce_min(tf.where(free_of_cover, cost, cost.dtype.max))
        smallest = tf.where(tf.reduce_any(free_of_cover), smallest, 0.0)
        cost -= smallest * tf.cast(free_of_cover, tf.float32)
        cost += smallest * tf.cast(twice_covered, tf.float32)
    return column_of_row


def _search(edges, column_of_row, row_of_column):
    """Searches a path from any free row, breadth first.

    Returns the rows and columns that were reached, the row from which each column was, and the free
    column at the end, or -1: there is no path.
    """
    count = edges.shape[0]
    rows, columns = column_of_row < 0, tf.zeros([count], tf.bool)
    parents, end = tf.fill([count], -1), tf.constant(-1)
    growing = tf.constant(True)
    while growing:
        new_edges = edges & rows[:, tf.newaxis] & ~columns
        new = tf.reduce_any(new_edges, axis=0)
        first = tf.argmax(tf.cast(new_edges, tf.int32), axis=0, output_type=tf.int32)
        parents = tf.where(new, first, parents)
        columns |= new
        rows |= tf.gather(columns, tf.maximum(column_of_row, 0)) & (column_of_row >= 0)
        ends = new & (row_of_column < 0)
        if tf.reduce_any(ends):
            end = tf.argmax(tf.cast(ends, tf.int32), output_type=tf.int32)
        growing = (end < 0) & tf.reduce_any(new)
    return rows, columns, parents, end
