"""Shapes of which some axes may be unknown while a graph is made."""

from __future__ import annotations

import tensorflow as tf


def static_or_dynamic_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the shape of `x`: an int for each axis that is known, else a scalar tensor."""
    known = list(x.shape)
    if None not in known:
        return known
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(known)]


def pixels_of(x: tf.Tensor) -> tf.Tensor:
    """Returns [B, P, ...] of [B, H, W, ...], row after row."""
    batch, height, width, *others = static_or_dynamic_shape(x)
    return tf.reshape(x, [batch, height * width, *others])
