"""Fitting of images and labels to the network's input, and maps back to the image's size.

Pure TensorFlow for images of any size, in graphs and eagerly; training, evaluation and export share
it. Images are [H, W, C] or [B, H, W, C], maps [H, W] or [B, H, W].
"""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.ops.resizing import resize_bilinear, resize_map

# What fills the input beside the image: the middle of 0..255, zero for the network.
PADDING_VALUE = 127.5


def fit_size(size: tf.Tensor, min_size: int, max_size: int | tuple[int, ...]) -> tf.Tensor:
    """Computes the size of an image scaled to a range.

    The shorter side is brought to min_size; then, if a side exceeds max_size, the image shrinks
    until it fits. Both steps round down after a float32 product, as the reference does: the results
    differ by one from exact arithmetic at times.

    Args:
      size: [2] int32 height, width.
      min_size: of the shorter side; 0: no limit.
      max_size: of the longer side, or of height and width each; 0: no limit.

    Returns:
      [2] int32 height, width, at least 1.
    """
    scaled = tf.cast(size, tf.float32)
    if min_size:
        scaled = tf.floor(scaled * (float(min_size) / tf.reduce_min(scaled)))
    limits = max_size if isinstance(max_size, tuple) else (max_size, max_size)
    if any(limits):
        limit = tf.constant(limits, tf.float32)
        fitting = tf.floor(scaled * tf.reduce_min(limit / scaled))
        scaled = tf.where(tf.reduce_any(scaled > limit), fitting, scaled)
    return tf.maximum(tf.cast(scaled, tf.int32), 1)


def resize_image(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes an image to [2] height, width, as float32."""
    return resize_bilinear(tf.cast(image, tf.float32), size)


def resize_bytes(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes an [H, W, 3] uint8 image as resize_image does, faster and with less memory.

    Reading bytes is slower than reading floats, but converting them goes over the whole image, of
    which a strong reduction needs few pixels.
    """
    few = 2 * tf.reduce_prod(size) < tf.reduce_prod(tf.shape(image)[:2])
    resized = tf.cond(few, lambda: resize_bilinear(image, size), lambda: resize_image(image, size))
    return tf.ensure_shape(resized, [None, None, 3])


def pad_map(ids: tf.Tensor, crop_size: tuple[int, int], value: int) -> tf.Tensor:
    """Pads a map at the bottom and right to the crop size.

    Raises:
      tf.errors.InvalidArgumentError: the map is larger.
    """
    padded = _pad(ids, crop_size, -2, value)
    return tf.ensure_shape(padded, [*ids.shape[:-2], *crop_size])


def fit_image(
    image: tf.Tensor, crop_size: tuple[int, int], min_size: int = 0, max_size: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a network input of an image, as evaluation and export do.

    Args:
      image: [H, W, 3] or [B, H, W, 3], 0..255, any number type.
      crop_size: height, width of the network's input.
      min_size: the shorter side is scaled to it; 0: as it is.
      max_size: sides are scaled down to it, and to the crop size in any case; 0: to the latter.

    Returns:
      The input, [h, w, 3] or [B, h, w, 3] float32, and [2] int32 height, width of the image in it.
    """
    height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    # Whatever the image's aspect, it must fit: a portrait in a landscape crop, say.
    limit = tuple(min(max_size or side, side) for side in crop_size)
    size = fit_size(tf.stack([height, width]), min_size, limit)
    padded = _pad(resize_image(image, size), crop_size, -3, PADDING_VALUE)
    return tf.ensure_shape(padded, [*image.shape[:-3], *crop_size, image.shape[-1]]), size


def restore_map(ids: tf.Tensor, fitted_size: tf.Tensor, raw_size: tf.Tensor) -> tf.Tensor:
    """Brings a map of the network's input back to the image: the inverse of fit_image.

    Args:
      ids: [h, w] or [B, h, w].
      fitted_size: [2] int32, height and width of the image in the network's input.
      raw_size: [2] int32, height and width of the image.

    Returns:
      [H, W] or [B, H, W], nearest neighbour with aligned corners.
    """
    return resize_map(ids[..., : fitted_size[0], : fitted_size[1]], raw_size)


def _pad(values: tf.Tensor, size: tuple[int, int], axis: int, value: float) -> tf.Tensor:
    """Pads two axes, the first of them given counted from the end, at their ends."""
    shape = tf.shape(values)
    missing = tf.constant(size, tf.int32) - tf.stack([shape[axis], shape[axis + 1]])
    fits = tf.debugging.assert_non_negative(
        missing, "an image exceeds crop_size after resizing; lower max_size or raise crop_size"
    )
    with tf.control_dependencies([fits]):
        paddings = [[0, 0]] * values.shape.rank
        paddings[axis], paddings[axis + 1] = [0, missing[0]], [0, missing[1]]
    return tf.pad(values, paddings, constant_values=tf.cast(value, values.dtype))
