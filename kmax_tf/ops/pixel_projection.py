"""The projection of each pixel: a 1x1 convolution."""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.ops.choice import choose
from kmax_tf.ops.gelu import gelu


def project_pixels(x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int] = (1, 1)) -> tf.Tensor:
    """Projects each pixel, or some of them.

    Args:
      x: [B, H, W, C].
      kernel: [1, 1, C, filters], of the same type.
      strides: of the pixels that are projected.

    Returns:
      [B, H', W', filters].
    """
    return choose(_definition, for_gradients_on_cpus=_as_product)(x, kernel, strides)


def _definition(x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, strides, padding="VALID")


def _as_product(x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    """Multiplies matrices: a convolution's gradients bring the weights into an order and back."""
    if strides != (1, 1):
        x = tf.nn.avg_pool2d(x, 1, strides, "VALID")  # of one pixel: quicker than a strided slice
    channels, filters = kernel.shape[2:]
    product = tf.matmul(tf.reshape(x, [-1, channels]), tf.reshape(kernel, [channels, filters]))
    return _as_pixels(product, x)


def _as_pixels(product: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns [B, H, W, filters] of a product [B * H * W, filters] of pixels x [B, H, W, C]."""
    filters = product.shape[1]
    shape = [-1 if size is None else size for size in (*x.shape[:3], filters)]
    if shape.count(-1) < 2:  # as in training: one operation instead of seven
        return tf.reshape(product, shape)
    dynamic = tf.concat([tf.shape(x)[:3], [filters]], axis=0)
    return tf.ensure_shape(tf.reshape(product, dynamic), [*x.shape[:3], filters])


def project_to_gelu(x: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Projects each pixel, adds an offset and activates by GELU.

    Args:
      x: [B, H, W, C].
      kernel: [C, filters], of the same type, as is the offset.
      offset: [filters].

    Returns:
      [B, H, W, filters].
    """
    form = choose(
        _project_then_activate,
        on_cpus=_in_one_operation,
        for_gradients_on_cpus=_project_then_activate,
    )
    return form(x, kernel, offset)


def _project_then_activate(x: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    projected = project_pixels(x, kernel[tf.newaxis, tf.newaxis])
    return gelu(tf.nn.bias_add(projected, offset))


def _in_one_operation(x: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Leaves all three to oneDNN, which has GELU behind products of matrices, not convolutions.

    TensorFlow makes one operation of them if nothing is between them.
    """
    product = tf.matmul(tf.reshape(x, [-1, x.shape[3]]), kernel)
    return _as_pixels(gelu(tf.nn.bias_add(product, offset)), x)
