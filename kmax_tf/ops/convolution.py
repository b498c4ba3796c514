"""Convolution, of any stride or dilation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import tensorflow as tf

from kmax_tf.ops.choice import choose
from kmax_tf.ops.pixel_projection import project_pixels

Pair = tuple[int, int]


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Pair = (1, 1),
    padding: str = "SAME",
    dilation: Pair = (1, 1),
) -> tf.Tensor:
    """Convolves; a stride or a dilation is 1.

    Args:
      x: [B, H, W, C].
      kernel: [h, w, C, filters], of the same type.
      strides: vertical and horizontal.
      padding: "SAME" or "VALID".
      dilation: vertical and horizontal.

    Returns:
      [B, H', W', filters].
    """
    form = choose(_definition, anywhere=_without_waste)
    return form(x, kernel, strides, padding, dilation)


def _definition(
    x: tf.Tensor, kernel: tf.Tensor, strides: Pair, padding: str, dilation: Pair
) -> tf.Tensor:
    """Convolves as the library does, which spreads the pixels over a batch and back to dilate."""
    return tf.nn.convolution(x, kernel, strides, padding, dilations=dilation)


def _without_waste(
    x: tf.Tensor, kernel: tf.Tensor, strides: Pair, padding: str, dilation: Pair
) -> tf.Tensor:
    """Leaves dilation to the operation, which on small features takes a tenth of the time."""
    if strides == (1, 1) and padding == "SAME":
        kernel = _without_vain_taps(kernel, x.shape[1:3], dilation)
    if kernel.shape[:2] == (1, 1):
        return project_pixels(x, kernel, strides)
    if dilation == (1, 1):
        return tf.nn.conv2d(x, kernel, strides, padding)
    return choose(_operation, on_cpus=_dilated)(x, kernel, padding, dilation)


def _operation(x: tf.Tensor, kernel: tf.Tensor, padding: str, dilation: Pair) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, 1, padding, dilations=dilation)


def _without_vain_taps(
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


def _dilated(
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
            of_x = _dilated(upstream, turned, [[0, 0], *margins, [0, 0]], dilation)
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
