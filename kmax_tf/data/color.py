"""Random changes of an image's colors: AutoAugment's operations and a policy that draws them.

Operations take and give [H, W, 3] uint8 and round towards zero, as the published ones do; labels
never change. Levels run from 0 to 10.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

Operation = Callable[[tf.Tensor], tf.Tensor]

_TOP_LEVEL = 10.0
_VALUES = 256


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation of a policy.

    Attributes:
      operation: name of one of OPERATIONS.
      probability: that it is applied.
      level: how strongly, 0..10.
    """

    operation: str
    probability: float
    level: float


@dataclasses.dataclass(frozen=True)
class ColorPolicy:
    """A choice of sequences of operations, each sequence as likely.

    Attributes:
      sequences: steps, applied in order.
      contrast_target: what contrast fades towards: MEAN_GREY, the image's, or, as published,
        PIXEL_COUNT: a 256th of the number of pixels (at most 255, which all but tiny images have).
    """

    sequences: tuple[tuple[Step, ...], ...]
    contrast_target: str


def random_color(image: tf.Tensor, seed: tf.Tensor, policy: ColorPolicy) -> tf.Tensor:
    """Applies one of a policy's sequences, drawn by a [2] int32 seed, to [H, W, 3] uint8."""
    most = max(len(sequence) for sequence in policy.sequences)
    draws = tf.random.stateless_uniform([1 + most], seed)

    def branch(steps: Sequence[Step]) -> Callable[[], tf.Tensor]:
        def apply() -> tf.Tensor:
            result = image
            for index, step in enumerate(steps):
                to_mean = step.operation == "CONTRAST" and policy.contrast_target == "MEAN_GREY"
                name = "CONTRAST_TO_MEAN_GREY" if to_mean else step.operation
                change = OPERATIONS[name](step.level)
                result = _maybe(draws[1 + index] < step.probability, change, result)
            return result

        return apply

    chosen = tf.cast(draws[0] * len(policy.sequences), tf.int32)
    changed = tf.switch_case(chosen, [branch(steps) for steps in policy.sequences])
    return tf.ensure_shape(changed, image.shape)


def _maybe(condition: tf.Tensor, change: Operation, image: tf.Tensor) -> tf.Tensor:
    return tf.cond(condition, lambda: change(image), lambda: image)


def _enhancing(degenerate: Operation) -> Callable[[float], Operation]:
    """Returns an operation that moves an image away from a degenerate one, or towards it.

    Args:
      degenerate: of [H, W, 3] uint8; gives a float32 that broadcasts to it.
    """

    def at(level: float) -> Operation:
        factor = level / _TOP_LEVEL * 1.8 + 0.1

        def apply(image: tf.Tensor) -> tf.Tensor:
            plain = degenerate(image)
            moved = plain + factor * (tf.cast(image, tf.float32) - plain)
            return tf.cast(tf.clip_by_value(moved, 0.0, 255.0), tf.uint8)

        return apply

    return at


def _black(image: tf.Tensor) -> tf.Tensor:
    del image
    return tf.constant(0.0)


def _grey(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.rgb_to_grayscale(image), tf.float32)


def _published_mean(image: tf.Tensor) -> tf.Tensor:
    # The mean of a histogram's 256 counts, where a mean of the image was meant.
    pixels = tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float32)
    return tf.floor(tf.minimum(pixels / _VALUES, 255.0))


def _mean_grey(image: tf.Tensor) -> tf.Tensor:
    return tf.floor(tf.reduce_mean(_grey(image)))


def _smooth(image: tf.Tensor) -> tf.Tensor:
    """Smooths by a 3x3 kernel, the outermost pixels excepted."""
    values = tf.cast(image, tf.float32)
    rows = values[:-2] + values[1:-1] + values[2:]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4.0 * values[1:-1, 1:-1]
    # Sums are whole numbers, so half of one keeps all quotients far from where rounding matters.
    means = tf.floor((sums + 0.5) / 13.0)
    # Where the mean is exact, the published convolution may have rounded to just below.
    places = tf.where(tf.reshape(13.0 * means == sums, [-1]))
    published = _published_means(image, tf.cast(places[:, 0], tf.int32))
    flat = tf.tensor_scatter_nd_update(tf.reshape(means, [-1]), places, published)
    inner = tf.reshape(flat, tf.shape(means))
    middle = tf.concat([values[1:-1, :1], inner, values[1:-1, -1:]], axis=1)
    return tf.concat([values[:1], middle, values[-1:]], axis=0)


def _published_means(image: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Smooths as the published convolution rounded, whatever convolutions do on this machine.

    It rounds to float32 once a tap, after product and sum.

    Args:
      image: [H, W, 3] uint8.
      places: [P] int32 in the flat [H - 2, W - 2, 3] that kernels have their middle at.

    Returns:
      [P] float32, whole numbers.
    """
    width = tf.shape(image)[1]
    flat = tf.reshape(image, [-1])
    corners = places + 6 * (places // (3 * (width - 2)))  # two pixels a row have no kernel
    mean = tf.constant(0.0)
    for row, column in itertools.product(range(3), repeat=2):
        weight = np.float32(5 if row == column == 1 else 1) / np.float32(13)
        seen = tf.cast(tf.gather(flat, corners + 3 * (row * width + column)), tf.float64)
        mean = tf.cast(tf.cast(mean, tf.float64) + seen * np.float64(weight), tf.float32)
    return tf.floor(mean)


def _sharpness(level: float) -> Operation:
    sharpen = _enhancing(_smooth)(level)

    def apply(image: tf.Tensor) -> tf.Tensor:
        # An image of less than 3 pixels is all border.
        return _maybe(tf.reduce_min(tf.shape(image)[:2]) >= 3, sharpen, image)

    return apply


def _by_table(tables: Callable[[tf.Tensor], tf.Tensor]) -> Operation:
    """Returns an operation that looks values up in the [3, 256] int32 tables made of an image."""

    def apply(image: tf.Tensor) -> tf.Tensor:
        table = tf.cast(tables(image), tf.uint8)
        channels = tf.cast(image, tf.int32) + tf.constant([0, _VALUES, 2 * _VALUES])
        return tf.gather_nd(tf.reshape(table, [-1]), channels[..., tf.newaxis])  # [H, W, 3]

    return apply


def _histograms(image: tf.Tensor) -> tf.Tensor:
    """Returns [3, 256] int32 counts of the values of each channel."""
    channels = tf.cast(image, tf.int32) + tf.constant([0, _VALUES, 2 * _VALUES])
    counts = tf.math.bincount(channels, minlength=3 * _VALUES, maxlength=3 * _VALUES)
    return tf.reshape(counts, [3, _VALUES])  # [3, 256]


def _equalizing_tables(image: tf.Tensor) -> tf.Tensor:
    counts = _histograms(image)
    values = tf.range(_VALUES)
    largest = tf.reduce_max(tf.where(counts > 0, values, 0), axis=1)
    of_largest = tf.gather(counts, largest, batch_dims=1)
    step = (tf.reduce_sum(counts, axis=1) - of_largest) // 255
    step = step[:, tf.newaxis]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    equal = tf.where(values > 0, (below + step // 2) // tf.maximum(step, 1), 0)
    return tf.where(step > 0, tf.minimum(equal, 255), values)


def _stretching_tables(image: tf.Tensor) -> tf.Tensor:
    counts = _histograms(image)
    values = tf.range(_VALUES)
    low = tf.reduce_min(tf.where(counts > 0, values, 255), axis=1, keepdims=True)
    high = tf.reduce_max(tf.where(counts > 0, values, 0), axis=1, keepdims=True)
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float32)
    offset = -tf.cast(low, tf.float32) * scale
    stretched = tf.cast(values, tf.float32) * scale + offset
    stretched = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.int32)
    return tf.where(high > low, stretched, values)


def _solarize(level: float) -> Operation:
    threshold = int(level / _TOP_LEVEL * _VALUES)

    def apply(image: tf.Tensor) -> tf.Tensor:
        bright = tf.cast(tf.cast(image, tf.int32) >= threshold, tf.uint8)
        return tf.bitwise.bitwise_xor(image, 255 * bright)  # 255 - value, where bright

    return apply


def _posterize(level: float) -> Operation:
    dropped = 8 - int(level / _TOP_LEVEL * 4)
    kept = tf.constant(_VALUES - 2**dropped, tf.uint8)
    return lambda image: tf.bitwise.bitwise_and(image, kept)


# What each does is a paper's: AutoAugment, arXiv 1805.09501, table 6.
OPERATIONS: dict[str, Callable[[float], Operation]] = {
    "AUTOCONTRAST": lambda level: _by_table(_stretching_tables),
    "BRIGHTNESS": _enhancing(_black),
    "COLOR": _enhancing(_grey),
    "CONTRAST": _enhancing(_published_mean),
    "CONTRAST_TO_MEAN_GREY": _enhancing(_mean_grey),
    "EQUALIZE": lambda level: _by_table(_equalizing_tables),
    "INVERT": lambda level: tf.bitwise.invert,
    "POSTERIZE": _posterize,
    "SHARPNESS": _sharpness,
    "SOLARIZE": _solarize,
}
