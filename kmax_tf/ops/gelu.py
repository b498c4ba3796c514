"""GELU (arXiv 1606.08415): x * Phi(x), with the normal distribution's Phi."""

from __future__ import annotations

import math
from typing import Callable

import tensorflow as tf

from kmax_tf.ops.choice import choose


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Returns x * Phi(x), exactly, not by the approximation with tanh."""
    form = choose(_definition, in_other_runtimes=_by_erf, for_gradients_on_cpus=_in_fewer_passes)
    return form(x)


def _definition(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def _by_erf(x: tf.Tensor) -> tf.Tensor:
    """Has the error function, as converters know it; newer TensorFlow takes its complement."""
    return 0.5 * x * (1.0 + tf.math.erf(x / tf.cast(math.sqrt(2.0), x.dtype)))


@tf.custom_gradient
def _in_fewer_passes(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Has the derivative Phi(x) + x * phi(x), in five passes over memory."""
    argument = x / math.sqrt(2.0)
    below = 0.5 * (1.0 + tf.math.erf(argument))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        density = tf.exp(-tf.square(argument)) * argument / math.sqrt(math.pi)
        return upstream * (below + density)

    return x * below, gradient
