"""Tensors on grids with aligned corners: resizing, subsampling, sizes. `grids` has the arithmetic.

The first and last rows and columns stay where they are.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kmax_tf import grids


def spatial_size(x: tf.Tensor) -> tuple[int, int] | tf.Tensor:
    """Returns the height and width of [B, H, W, C]: as a tuple where they are known."""
    height, width = x.shape[1:3]
    return tf.shape(x)[1:3] if height is None or width is None else (height, width)


def resize_bilinear(x: tf.Tensor, size: Any) -> tf.Tensor:
    """Resizes [B, H, W, C] or [H, W, C] to a height and width: bilinear, computed in float32.

    Args:
      x: floats, which stay of their type, or integers, which become float32.
      size: a tuple, or [2] int32.
    """
    if isinstance(size, tuple) and tuple(x.shape[-3:-1]) == size:
        return x if x.dtype.is_floating else tf.cast(x, tf.float32)
    images = tf.cast(x, tf.float32) if x.dtype.is_floating else x
    images = images if x.shape.rank == 4 else images[tf.newaxis]
    resized = tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=True)
    resized = resized if x.shape.rank == 4 else resized[0]
    return tf.cast(resized, x.dtype) if x.dtype.is_floating else resized


def resize_map(ids: tf.Tensor, size: Any) -> tf.Tensor:
    """Resizes a map [B, H, W] or [H, W] to a height and width: nearest neighbour.

    Args:
      ids: of any number type.
      size: a tuple, or [2] int32.
    """
    images = ids[..., tf.newaxis] if ids.shape.rank == 3 else ids[tf.newaxis, ..., tf.newaxis]
    resized = tf.raw_ops.ResizeNearestNeighbor(images=images, size=size, align_corners=True)
    return resized[..., 0] if ids.shape.rank == 3 else resized[0, ..., 0]


def nearest_index(index: tf.Tensor, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns where `resize_map` finds pixels, along one axis.

    Args:
      index: [n] int32 places in the resized map.
      source: scalar int32, length of the map.
      target: scalar int32, length of the resized map.

    Returns:
      [n] int32 places in the map.
    """
    last = tf.cast(source - 1, tf.float32)
    # A single pixel is the first; with more, corners are aligned.
    position = tf.cast(index, tf.float32) * (last / tf.cast(tf.maximum(target - 1, 1), tf.float32))
    below = tf.floor(position)
    # Halves are rounded up, as by C's roundf.
    nearest = below + tf.cast(position - below >= 0.5, tf.float32)
    return tf.cast(tf.minimum(nearest, last), tf.int32)


def subsample(full: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
    """Takes every s-th row and column of [B, H, W] so that it fits [B, h, w, ...].

    Raises:
      UserError: there is no such stride s.
    """
    stride = grids.stride_between(full.shape[1:3], grid.shape[1:3])
    return full[:, ::stride, ::stride]


def valid_scaled_size(images: tf.Tensor, scale: float) -> Any:
    """Returns the valid height and width nearest to those of [B, H, W, C] times a factor."""
    sides = images.shape[1:3]
    if None not in sides:
        return tuple(grids.valid_scaled_side(side, scale) for side in sides)
    steps = tf.round(tf.cast(tf.shape(images)[1:3] - 1, tf.float32) * (scale / 32))
    return tf.maximum(tf.cast(steps, tf.int32), 1) * 32 + 1


def check_images(images: tf.Tensor) -> None:
    """Checks that the sides of [B, H, W, C] have the form 32k + 1.

    Where they aren't known, they are checked when the graph runs; but for one compiled by XLA,
    which has no assertions: there, other sizes give misaligned features.

    Raises:
      UserError: naming the nearest valid sizes.
      tf.errors.InvalidArgumentError: the same, when a graph runs.
    """
    grids.check_image_size(images.shape)
    if None not in images.shape[1:3]:
        return
    sides = tf.shape(images)[1:3]
    below = tf.maximum(33, (sides - 1) // 32 * 32 + 1)
    tf.debugging.Assert(
        tf.reduce_all((sides >= 33) & (sides % 32 == 1)),
        [
            "Height and width of the images are",
            sides,
            "but the model takes sizes of the form 32k + 1: the nearest are",
            below,
            "and",
            below + 32,
            "Pad the images (with 127.5) or resize them.",
        ],
    )
