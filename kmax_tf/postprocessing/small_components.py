"""Small components, connected parts of a segment apart from the rest of it, become unlabeled.

Pixels are connected through their sides. The largest part of a segment stays however small it is:
whether a segment is too small is for the area limits to say. What is removed doesn't join what
surrounds it, since no mask says that it is of it.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import tensorflow as tf


def remove_small_components(panoptic: np.ndarray, least_area: int, void_id: int) -> np.ndarray:
    """Makes small connected parts of segments unlabeled.

    Args:
      panoptic: [H, W] int32 panoptic map.
      least_area: parts of fewer pixels go; 0 or 1 keeps all.
      void_id: panoptic id of unlabeled pixels.

    Returns:
      [H, W] int32; the same array where there is nothing to remove.
    """
    if least_area <= 1:
        return panoptic
    cleaned = panoptic
    ids, index = np.unique(panoptic, return_inverse=True)
    boxes = scipy.ndimage.find_objects(index.reshape(panoptic.shape) + 1)
    for panoptic_id, box in zip(ids, boxes):
        if panoptic_id == void_id:
            continue
        parts, count = scipy.ndimage.label(panoptic[box] == panoptic_id)
        areas = np.bincount(parts.ravel())[1:]  # of part 1, 2, ...
        small = areas < least_area
        small[areas.argmax()] = False
        if count > 1 and small.any():
            if cleaned is panoptic:
                cleaned = panoptic.copy()
            cleaned[box][np.append(False, small)[parts]] = void_id
    return cleaned


def without_small_components(panoptic: tf.Tensor, least_area: int, void_id: int) -> tf.Tensor:
    """Does in a graph what `remove_small_components` does: for exports, which have no host.

    Parts are joined of runs, pixels of a row with one id, of which there are a hundredth as many.

    Args:
      panoptic: [H, W] int32.
      least_area: parts of fewer pixels go; 0 or 1 keeps all.
      void_id: panoptic id of unlabeled pixels.

    Returns:
      [H, W] int32.
    """
    if least_area <= 1:
        return panoptic
    first = tf.ones_like(panoptic[:, :1], tf.bool)
    begins = tf.concat([first, panoptic[:, 1:] != panoptic[:, :-1]], axis=1)
    run = tf.reshape(tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1, tf.shape(panoptic))
    ids = tf.boolean_mask(panoptic, begins)  # [R], of each run
    count = tf.size(ids)
    # Two runs touch where one is above the other; the first such column says so.
    touch = (panoptic[1:] == panoptic[:-1]) & (begins[1:] | begins[:-1])
    part = _parts(tf.boolean_mask(run[:-1], touch), tf.boolean_mask(run[1:], touch), count)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(run), run, count)
    areas = tf.gather(tf.math.unsorted_segment_sum(lengths, part, count), part)  # [R]
    _, segment = tf.unique(ids)
    is_largest = areas == tf.gather(tf.math.unsorted_segment_max(areas, segment, count), segment)
    stays = tf.math.unsorted_segment_min(tf.where(is_largest, part, count), segment, count)
    is_small = (areas < least_area) & (part != tf.gather(stays, segment))
    return tf.gather(tf.where(is_small, void_id, ids), run)


def _parts(above: tf.Tensor, below: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns [R] int32: the first run of the part that each is of.

    Args:
      above: [E] int32 runs.
      below: [E] int32, each touches the one above.
      count: R.
    """

    def join(part: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ends = tf.gather(part, above), tf.gather(part, below)
        lower = tf.tile(tf.minimum(*ends), [2])
        joined = tf.tensor_scatter_nd_min(part, tf.concat(ends, axis=0)[:, tf.newaxis], lower)
        joined = tf.gather(joined, joined)
        return joined, tf.reduce_any(joined != part)

    start = tf.range(count), tf.constant(True)
    return tf.while_loop(lambda _, changed: changed, join, start)[0]
