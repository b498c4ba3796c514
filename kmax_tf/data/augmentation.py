"""Random geometry of a training example: scale, place in the crop, mirror image.

All are functions of a [2] int32 seed alone. An image is scaled whole, since its colors may change
by what the whole of it looks like; of its label only the pixels of the crop are computed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kmax_tf.ops.resizing import nearest_index


class Window(NamedTuple):
    """Where an image lies in the crop, and what of it is seen there.

    Attributes:
      start: [2] int32 first row and column of the image that are seen.
      size: [2] int32 height and width of what is seen.
      before: [2] int32 rows and columns of the crop above and left of it.
    """

    start: tf.Tensor
    size: tf.Tensor
    before: tf.Tensor


def scale_levels(min_scale: float, max_scale: float, step: float) -> np.ndarray:
    """Returns the [L] float32 scales from min_scale to max_scale.

    The number of levels counts whole steps as the reference does, with float32 values of the config
    in double arithmetic: 0.5 to 2.0 by 0.1 gives 15 levels, not 16, none of which is 1.0.
    """
    low, high, width = (float(np.float32(value)) for value in (min_scale, max_scale, step))
    count = int((high - low) / width + 1)
    if count == 1:
        return np.array([low], np.float32)
    # NumPy's linspace computes in double, which is off by one float32 step at times.
    levels = np.float32(low) + np.float32(high - low) / np.float32(count - 1) * np.arange(
        count, dtype=np.float32
    )
    levels[-1] = high
    return levels


def random_size(size: tf.Tensor, seed: tf.Tensor, scales: tuple[float, float, float]) -> tf.Tensor:
    """Scales a size by one factor: of scale_levels, each as likely, or any if the step is 0.

    Args:
      size: [2] int32 height, width.
      seed: [2] int32.
      scales: min_scale, max_scale, step.

    Returns:
      [2] int32 height * scale and width * scale, truncated.
    """
    low, high, step = scales
    if low == high == 1.0:
        return size
    if step:
        levels = tf.constant(scale_levels(low, high, step))
        index = tf.random.stateless_uniform([], seed, 0, levels.shape[0], tf.int32)
        return scaled_size(size, levels[index])
    return scaled_size(size, tf.random.stateless_uniform([], seed, low, high))


def scaled_size(size: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Returns [2] int32 height, width times a factor, truncated, at least 1."""
    scaled = tf.cast(size, tf.float32) * tf.cast(scale, tf.float32)
    return tf.maximum(tf.cast(scaled, tf.int32), 1)


def random_window(size: tf.Tensor, seed: tf.Tensor, crop_size: tuple[int, int]) -> Window:
    """Draws a window of an image; a smaller image gets a random place in the window.

    Args:
      size: [2] int32 height, width of the image.
      seed: [2] int32.
      crop_size: height, width of the window.
    """
    crop = tf.constant(crop_size, tf.int32)
    missing, spare = tf.maximum(crop - size, 0), tf.maximum(size - crop, 0)
    position = tf.random.stateless_uniform([2], seed)
    # Inclusive of both ends; uniform is below 1.
    before = tf.cast(position * tf.cast(missing + 1, tf.float32), tf.int32)
    start = tf.cast(position * tf.cast(spare + 1, tf.float32), tf.int32)
    return Window(start, tf.minimum(size, crop), before)


def cut_image(image: tf.Tensor, window: Window, crop_size: tuple[int, int]) -> tf.Tensor:
    """Puts what is seen of an image [H, W, 3] into the crop: [h, w, 3], zero beside the image."""
    row, column = window.start[0], window.start[1]
    seen = image[row : row + window.size[0], column : column + window.size[1]]
    return pad_to_crop(seen, window, crop_size, 0)


def cut_label(label: tf.Tensor, window: Window, sizes: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Resizes a label in turn to sizes, by nearest neighbour, of which it computes what is seen.

    Args:
      label: [H, W] int32.
      window: what is seen, of the label of the last size.
      sizes: [2] int32 height, width each.

    Returns:
      What is seen of it, of the window's size.
    """
    rows, columns = (
        _source_index(label, axis, [size[axis] for size in sizes], window) for axis in (0, 1)
    )
    # Rows of memory are copied twice; picking single values along a row is slower.
    wide = tf.transpose(tf.gather(tf.transpose(label), columns))  # [H, w]
    return tf.gather(wide, rows)


def _source_index(label: tf.Tensor, axis: int, sizes: list[tf.Tensor], window: Window) -> tf.Tensor:
    """Returns the row (or column) of the label behind each that is seen."""
    index = tf.range(window.start[axis], window.start[axis] + window.size[axis])
    before = [tf.shape(label)[axis], *sizes]
    for source, target in reversed(list(zip(before, sizes))):
        index = nearest_index(index, source, target)
    return index


def pad_to_crop(
    values: tf.Tensor, window: Window, crop_size: tuple[int, int], value: int
) -> tf.Tensor:
    """Puts what is seen of an image or a label at its place in a crop, filled with a value."""
    height, width = crop_size
    channels = math.prod(values.shape[2:])
    (above, left), (seen_height, seen_width) = tf.unstack(window.before), tf.unstack(window.size)
    below, right = height - above - seen_height, width - left - seen_width
    # As a matrix: several times as fast as with an axis of channels.
    rows = tf.reshape(values, [seen_height, seen_width * channels])  # [H, W * C]
    paddings = [[above, below], [channels * left, channels * right]]
    rows = tf.pad(rows, paddings, constant_values=tf.cast(value, values.dtype))
    return tf.reshape(rows, [*crop_size, *values.shape[2:]])  # [h, w(, C)]
