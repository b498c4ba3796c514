"""Convolutions, which on CPUs leave out what the library's operations do in vain.

What they compute, their weights and their names are those of Keras' layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

import tensorflow as tf

from kmax_tf.devices import accelerated
from kmax_tf.keras_api import keras


class Convolution(keras.layers.Conv2D):
    """A convolution, without bias unless it is asked for. [B, H, W, C] -> [B, H', W', filters].

    Dilation is left to the operation: Keras spreads the pixels over a batch and back, which takes
    ten times as long on small features.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        use_bias: bool = False,
        **kwargs: object,
    ):
        super().__init__(filters, kernel_size, strides, use_bias=use_bias, **kwargs)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Convolves."""
        kernel, padding = tf.convert_to_tensor(self.kernel), self.padding.upper()
        if self.strides == (1, 1) and padding == "SAME":
            kernel = _without_padding_only(kernel, inputs.shape[1:3], self.dilation_rate)
        if kernel.shape[:2] == (1, 1):
            outputs = convolve_pixels(inputs, kernel, training, self.strides)
        elif self.dilation_rate == (1, 1) or accelerated():
            outputs = tf.nn.conv2d(inputs, kernel, self.strides, padding, None, self.dilation_rate)
        else:
            outputs = _convolve_dilated(inputs, kernel, padding, self.dilation_rate)
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


def convolve_pixels(
    x: tf.Tensor, kernel: tf.Tensor, training: Optional[bool], strides: tuple[int, int] = (1, 1)
) -> tf.Tensor:
    """Projects each pixel, or some of them.

    In training on a CPU it is a plain matrix product, because a convolution's gradients bring the
    weights into an order of their own and back. In inference it is a convolution, which takes up
    the activation behind it.

    Args:
      x: [B, H, W, C].
      kernel: [1, 1, C, filters], of the same type.
      training: whether there will be gradients.
      strides: of the pixels that are projected.

    Returns:
      [B, H', W', filters].
    """
    if not training or accelerated():
        return tf.nn.conv2d(x, kernel, strides, padding="VALID")
    if strides != (1, 1):
        x = tf.nn.avg_pool2d(x, 1, strides, "VALID")  # of one pixel: quicker than a strided slice
    channels, filters = kernel.shape[2:]
    product = tf.matmul(tf.reshape(x, [-1, channels]), tf.reshape(kernel, [channels, filters]))
    shape = [-1 if size is None else size for size in (*x.shape[:3], filters)]
    if shape.count(-1) < 2:  # as in training: one operation instead of seven
        return tf.reshape(product, shape)
    dynamic = tf.concat([tf.shape(x)[:3], [filters]], axis=0)
    return tf.ensure_shape(tf.reshape(product, dynamic), [*x.shape[:3], filters])


def _without_padding_only(
    kernel: tf.Tensor, size: tf.TensorShape, dilation: tuple[int, int]
) -> tf.Tensor:
    """Cuts off the rows and columns of a kernel that reach over the border from every pixel."""
    cuts = []
    for taps, pixels, step in zip(kernel.shape, size, dilation):
        reach = taps // 2 if pixels is None else min(taps // 2, (pixels - 1) // step)
        cuts.append(taps // 2 - reach if taps % 2 else 0)
    if cuts == [0, 0]:
        return kernel
    (top, left), (height, width) = cuts, kernel.shape[:2]
    size = [height - 2 * top, width - 2 * left, -1, -1]
    return tf.slice(kernel, [top, left, 0, 0], size)  # its gradient is quicker than that of [:]


def _convolve_dilated(
    x: tf.Tensor, kernel: tf.Tensor, padding: str | list[list[int]], dilation: tuple[int, int]
) -> tf.Tensor:
    """Convolves with stride 1, with gradients that every CPU can compute.

    TensorFlow's own kernels for CPUs, in use where oneDNN is off, know dilation in the convolution
    but not in its gradients; those of oneDNN know it there for some types only. So the gradient by
    the input is a convolution itself, of the upstream gradient with the kernel turned round, and
    that by the kernel is a product a tap, of those pixels alone that the tap sees.

    Args:
      x: [B, H, W, C].
      kernel: [h, w, C, filters], of the same type.
      padding: "SAME", "VALID", or the zeros before and after each axis.
      dilation: vertical and horizontal.

    Returns:
      [B, H', W', filters].
    """
    reach = [(taps - 1) * step for taps, step in zip(kernel.shape[:2], dilation)]
    if padding == "SAME":
        around = [[pixels // 2, pixels - pixels // 2] for pixels in reach]
    else:
        around = [[0, 0], [0, 0]] if isinstance(padding, str) else padding[1:3]

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            margins = [[pixels - side for side in sides] for pixels, sides in zip(reach, around)]
            of_x = _convolve_dilated(upstream, turned, [[0, 0], *margins, [0, 0]], dilation)
            products = [
                tf.matmul(_pixels(seen), _pixels(seers), transpose_a=True)
                for seen, seers in _pairs(x, upstream, kernel.shape[:2], around, dilation)
            ]
            return of_x, tf.reshape(tf.stack(products), kernel.shape)

        return tf.nn.conv2d(x, kernel, 1, padding, dilations=dilation), gradient

    return convolve(x, kernel)


def _pairs(
    x: tf.Tensor,
    outputs: tf.Tensor,
    kernel_size: Sequence[int],
    around: Sequence[Sequence[int]],
    dilation: tuple[int, int],
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields, for each tap, the pixels that it sees and the outputs that see them by it.

    Sizes may be unknown, and smaller than a tap's way, which then sees nothing.
    """
    ways = []
    for taps, (before, after), step in zip(kernel_size, around, dilation):
        # How many pixels lie before the first that the tap sees, and behind the last; where it is
        # less than none, as many outputs see padding.
        ways.append([(tap * step - before, (taps - 1 - tap) * step - after) for tap in range(taps)])
    for (up, down), (left, right) in itertools.product(*ways):
        seen = x[:, _without(up, down), _without(left, right)]
        yield seen, outputs[:, _without(-up, -down), _without(-left, -right)]


def _without(first: int, last: int) -> slice:
    """Leaves out the first and the last of an axis; no or fewer than no leaves all."""
    return slice(max(first, 0), -last if last > 0 else None)


def _pixels(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [P, C]."""
    return tf.reshape(x, [-1, x.shape[-1]])


class DepthwiseConvolution(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of stride 1. [B, H, W, C] -> the same."""

    def __init__(self, kernel_size: int, **kwargs: object):
        super().__init__(kernel_size, padding="same", **kwargs)

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Convolves."""
        plain = self.strides == self.dilation_rate == (1, 1) and self.kernel_size[0] % 2 == 1
        if not (training and plain) or accelerated():
            return super().call(inputs)
        outputs = _convolve_depthwise(inputs, tf.convert_to_tensor(self.depthwise_kernel))
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


@tf.custom_gradient
def _convolve_depthwise(
    x: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Convolves [B, H, W, C] with [k, k, C, 1].

    The kernel's gradient is the correlation of input and upstream gradient, so it is a depthwise
    convolution of the one with the other. As such it takes a fifth of the time of the operation
    that is meant for it.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x),
            filter=kernel,
            out_backprop=upstream,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        size, channels = kernel.shape[0], kernel.shape[2]
        border = [size // 2, size // 2]
        padded = tf.pad(x, [[0, 0], border, border, [0, 0]])
        correlation = tf.nn.depthwise_conv2d(
            _examples_as_channels(padded)[tf.newaxis],
            _examples_as_channels(upstream)[..., tf.newaxis],
            [1, 1, 1, 1],
            "VALID",
        )  # [1, k, k, B * C]
        of_examples = tf.reshape(correlation, [size, size, -1, channels])
        return of_x, tf.reduce_sum(of_examples, axis=2)[..., tf.newaxis]

    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME"), gradient


def _examples_as_channels(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [H, W, B * C]."""
    _, height, width, _ = tf.unstack(tf.shape(x))
    return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [height, width, -1])
