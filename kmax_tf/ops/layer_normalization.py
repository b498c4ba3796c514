"""Layer normalization (arXiv 1607.06450) over the last axis."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from kmax_tf.ops.choice import choose


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Returns (x - mean) / sqrt(variance + epsilon) * scale + offset, computed in float32.

    Args:
      x: [..., C].
      scale: [C].
      offset: [C].
      epsilon: added to the variance.
    """
    form = choose(_definition, for_gradients_on_cpus=_in_fewer_passes)
    inputs, scale, offset = (tf.cast(part, tf.float32) for part in (x, scale, offset))
    return tf.cast(form(inputs, scale, offset, epsilon), x.dtype)


def _definition(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)


def _in_fewer_passes(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tf.Tensor:
    return _normalized(x, epsilon) * scale + offset


@tf.custom_gradient
def _normalized(
    x: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Returns `x` less its mean over the last axis, divided by its standard deviation."""

    def mean(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(values, axis=-1, keepdims=True)

    centered = x - mean(x)
    inverse = tf.math.rsqrt(mean(tf.square(centered)) + epsilon)
    normalized = centered * inverse

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        along = normalized * mean(upstream * normalized)
        return inverse * (upstream - mean(upstream) - along), None

    return normalized, gradient
