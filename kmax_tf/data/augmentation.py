"""Random changes of a training example: scale, place in the crop, mirror image.

All are functions of a [2] int32 seed alone, and change image and label alike.
Images are [H, W, 3] float32, labels [H, W] int32 panoptic ids.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kmax_tf.data.preprocessing import PADDING_VALUE, resize_image, resize_map


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


def random_scale(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    scales: tuple[float, float, float],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales by one factor: of scale_levels, each as likely, or any in the range if the step is 0.

    Args:
      image: [H, W, 3] float32.
      label: [H, W] int32.
      seed: [2] int32.
      scales: min_scale, max_scale, step.

    Returns:
      Image and label; sides are H * scale and W * scale, truncated.
    """
    low, high, step = scales
    if low == high == 1.0:
        return image, label
    if step:
        levels = tf.constant(scale_levels(low, high, step))
        index = tf.random.stateless_uniform([], seed, 0, levels.shape[0], tf.int32)
        scale = levels[index]
    else:
        scale = tf.random.stateless_uniform([], seed, low, high)
    size = scaled_size(tf.shape(image)[:2], scale)
    return resize_image(image, size), resize_map(label, size)


def scaled_size(size: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Returns [2] int32 height, width times a factor, truncated, at least 1."""
    scaled = tf.cast(size, tf.float32) * tf.cast(scale, tf.float32)
    return tf.maximum(tf.cast(scaled, tf.int32), 1)


def random_crop(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, crop_size: tuple[int, int], void: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a window from a random place; a smaller image gets a random place in the window.

    Args:
      image: [H, W, 3] float32.
      label: [H, W] int32.
      seed: [2] int32.
      crop_size: height, width of the window.
      void: panoptic id of unlabeled pixels, which fills the label beside the image.

    Returns:
      Image [h, w, 3] and label [h, w].
    """
    size = tf.shape(label)
    crop = tf.constant(crop_size, tf.int32)
    missing, spare = tf.maximum(crop - size, 0), tf.maximum(size - crop, 0)
    position = tf.random.stateless_uniform([2], seed)
    # Inclusive of both ends; uniform is below 1.
    before = tf.cast(position * tf.cast(missing + 1, tf.float32), tf.int32)
    start = tf.cast(position * tf.cast(spare + 1, tf.float32), tf.int32)
    paddings = tf.stack([before, missing - before], axis=1)  # [2, 2]
    image = tf.pad(image, tf.pad(paddings, [[0, 1], [0, 0]]), constant_values=PADDING_VALUE)
    label = tf.pad(label, paddings, constant_values=void)
    image = tf.slice(image, tf.pad(start, [[0, 1]]), [*crop_size, 3])
    return image, tf.slice(label, start, crop_size)


def random_flip(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors left and right with a probability.

    Args:
      image: [H, W, 3] float32.
      label: [H, W] int32.
      seed: [2] int32.
      probability: of mirroring.
    """
    step = tf.where(tf.random.stateless_uniform([], seed) < probability, -1, 1)
    return (
        tf.ensure_shape(image[:, ::step], image.shape),
        tf.ensure_shape(label[:, ::step], label.shape),
    )
