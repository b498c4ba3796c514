"""The ids of a map, found by its runs: a map has a hundred times as many pixels as runs."""

from __future__ import annotations

import tensorflow as tf


def unique_ids(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ids of a map [H, W] int32 and their areas.

    Returns:
      [U] int32 ids in the order of their first pixels, row by row, and [U] int32 numbers of pixels.
    """
    flat = tf.reshape(ids, [-1])  # [HW]
    size = tf.shape(flat, tf.int64)
    starts = tf.where(flat[1:] != flat[:-1])[:, 0] + 1
    starts = tf.concat([tf.zeros(tf.minimum(size, 1), tf.int64), starts], axis=0)  # [R]
    lengths = tf.cast(tf.concat([starts[1:], size], axis=0) - starts, tf.int32)
    found, run_of = tf.unique(tf.gather(flat, starts))
    return found, tf.math.unsorted_segment_sum(lengths, run_of, tf.size(found))
