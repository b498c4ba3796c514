"""The assignment problem: rows get columns of their own, at the least total cost.

Two forms of one optimum. That on the host, by SciPy, is the quicker one, but XLA and TPUs can't
call it; so it is the experiment's hardware that chooses.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

NONE = -1


def assign_on_host(cost: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Assigns with SciPy.

    Args:
      cost: [B, R, C] float32, finite.
      valid: [B, R] bool; other rows are left out.

    Returns:
      [B, R] column of each row and [B, C] row of each column, int32; -1: none. Every valid row has
      a column, or every column a row where there are more valid rows.
    """
    column_of_row, row_of_column = tf.numpy_function(
        _assign_batch, [cost, valid], [tf.int32, tf.int32], stateful=False
    )
    return (
        tf.ensure_shape(column_of_row, cost.shape[:2]),
        tf.ensure_shape(row_of_column, [cost.shape[0], cost.shape[2]]),
    )


def _assign_batch(cost: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, rows, columns = cost.shape
    column_of_row = np.full([batch, rows], NONE, np.int32)
    row_of_column = np.full([batch, columns], NONE, np.int32)
    for problem in range(batch):
        present = np.flatnonzero(valid[problem])
        chosen, of_chosen = linear_sum_assignment(cost[problem, present])
        column_of_row[problem, present[chosen]] = of_chosen
        row_of_column[problem, of_chosen] = present[chosen]
    return column_of_row, row_of_column


def assign_in_graph(
    cost: tf.Tensor, valid: tf.Tensor, above_all: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Assigns with TensorFlow operations of static shapes: shortest augmenting paths, batched.

    Rows are added one after another (Jonker and Volgenant, 1987). For each, a shortest path to a
    free column is grown column by column under reduced costs, then the assignment is switched along
    it. Work grows with the number of valid rows, not with the padded size.

    Args:
      cost: [B, R, C] float32 of static R and C, finite.
      valid: [B, R] bool; other rows are left out.
      above_all: more than any cost.

    Returns:
      As `assign_on_host`.
    """
    rows, columns = cost.shape[1:]
    # More rows than columns: the rest goes to columns that are worse than any other.
    spare = max(0, rows - columns)
    row_of_column = _assign(
        tf.pad(cost, [[0, 0], [0, 0], [0, spare]], constant_values=above_all), valid
    )[:, :columns]
    one_hot = tf.one_hot(row_of_column, rows, on_value=True, off_value=False)  # [B, C, R]
    column_of_row = tf.argmax(one_hot, axis=1, output_type=tf.int32)
    return tf.where(tf.reduce_any(one_hot, axis=1), column_of_row, NONE), row_of_column


class _Path(NamedTuple):
    """The search for a free column, for every problem of the batch.

    R rows, C columns. `end` is the column that the path has reached, `searching` whether it is
    still taken; `distance` and `previous` are the best known way to each column.
    """

    end: tf.Tensor  # [B] int32
    searching: tf.Tensor  # [B] bool
    distance: tf.Tensor  # [B, C]
    previous: tf.Tensor  # [B, C] int32
    columns: tf.Tensor  # [B, C] bool: on the tree
    rows: tf.Tensor  # [B, R] bool: on the tree
    row_potential: tf.Tensor  # [B, R]
    column_potential: tf.Tensor  # [B, C]


def _assign(cost: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns the row of each column, [B, C], where there are no fewer columns than rows."""
    batch = tf.shape(cost)[0]
    rows, columns = cost.shape[1:]
    # Valid rows first, so that the loop ends with the last of them.
    order = tf.argsort(tf.cast(valid, tf.int32), direction="DESCENDING", stable=True)  # [B, R]
    cost = tf.gather(cost, order, batch_dims=1)
    counts = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)  # [B]

    def add_row(
        row: tf.Tensor, row_of_column: tf.Tensor, potentials: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        path = _find_path(cost, row, row < counts, row_of_column, potentials)
        row_of_column = _switch(path, row, row < counts, row_of_column)
        return row + 1, row_of_column, (path.row_potential, path.column_potential)

    _, row_of_column, _ = tf.while_loop(
        lambda row, *_: row < tf.reduce_max(counts),
        add_row,
        (
            tf.constant(0),
            tf.fill([batch, columns], NONE),
            (tf.zeros([batch, rows]), tf.zeros([batch, columns])),
        ),
    )
    original = tf.gather(order, tf.maximum(row_of_column, 0), batch_dims=1)
    return tf.where(row_of_column == NONE, NONE, original)


def _find_path(
    cost: tf.Tensor,
    row: tf.Tensor,
    active: tf.Tensor,
    row_of_column: tf.Tensor,
    potentials: tuple[tf.Tensor, tf.Tensor],
) -> _Path:
    """Grows a shortest path from `row` to a free column, in the problems that are active."""
    batch = tf.shape(cost)[0]
    rows, columns = cost.shape[1:]
    infinity = tf.fill([batch, columns], cost.dtype.max)
    start = tf.broadcast_to(tf.range(rows) == row, [batch, rows]) & active[:, tf.newaxis]

    def grow(path: _Path) -> tuple[_Path]:
        taken = tf.gather(row_of_column, tf.maximum(path.end, 0), batch_dims=1)
        here = tf.where(path.end == NONE, row, taken)  # [B] row whose edges are looked at
        here = tf.where(path.searching, here, 0)
        reduced = (
            tf.gather(cost, here, batch_dims=1)
            - tf.gather(path.row_potential, here, batch_dims=1)[:, tf.newaxis]
            - path.column_potential
        )
        searching = path.searching[:, tf.newaxis]
        shorter = ~path.columns & (reduced < path.distance) & searching
        distance = tf.where(shorter, reduced, path.distance)
        previous = tf.where(shorter, path.end[:, tf.newaxis], path.previous)
        open_distance = tf.where(path.columns, infinity, distance)
        nearest = tf.argmin(open_distance, axis=1, output_type=tf.int32)  # [B]
        step = tf.reduce_min(open_distance, axis=1)[:, tf.newaxis]
        step = tf.where(searching, step, 0.0)
        reached = tf.one_hot(nearest, columns, on_value=True, off_value=False) & searching
        next_row = tf.gather(row_of_column, nearest, batch_dims=1)
        continues = path.searching & (next_row != NONE)
        row_reached = tf.one_hot(next_row, rows, on_value=True, off_value=False)
        return (
            _Path(
                end=tf.where(path.searching, nearest, path.end),
                searching=continues,
                distance=tf.where(path.columns, distance, distance - step),
                previous=previous,
                columns=path.columns | reached,
                rows=path.rows | (row_reached & continues[:, tf.newaxis]),
                row_potential=tf.where(path.rows, path.row_potential + step, path.row_potential),
                column_potential=tf.where(
                    path.columns, path.column_potential - step, path.column_potential
                ),
            ),
        )

    first = _Path(
        end=tf.fill([batch], NONE),
        searching=active,
        distance=infinity,
        previous=tf.fill([batch, columns], NONE),
        columns=tf.zeros([batch, columns], tf.bool),
        rows=start,
        row_potential=potentials[0],
        column_potential=potentials[1],
    )
    return tf.while_loop(lambda path: tf.reduce_any(path.searching), grow, (first,))[0]


def _switch(path: _Path, row: tf.Tensor, active: tf.Tensor, row_of_column: tf.Tensor) -> tf.Tensor:
    """Gives each column of the path the row of the column before it, the first one `row`."""
    columns = row_of_column.shape[1]

    def back(end: tf.Tensor, row_of_column: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = tf.maximum(end, 0)
        before = tf.gather(path.previous, here, batch_dims=1)  # [B]
        moved = tf.gather(row_of_column, tf.maximum(before, 0), batch_dims=1)
        moved = tf.where(before == NONE, row, moved)
        at_end = tf.one_hot(end, columns, on_value=True, off_value=False)  # none for -1
        row_of_column = tf.where(at_end, moved[:, tf.newaxis], row_of_column)
        return tf.where(end == NONE, NONE, before), row_of_column

    end = tf.where(active, path.end, NONE)
    return tf.while_loop(lambda end, _: tf.reduce_any(end != NONE), back, (end, row_of_column))[1]
