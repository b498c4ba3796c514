"""Which masks a pixel is in, read off its logits."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from kmax_tf.postprocessing.cells import Best, MaskGrid

# Probabilities add up to 1 but for rounding, which this exceeds.
_ROUNDING = 1e-6


class MaskReading(NamedTuple):
    """What is read of C pixels. Centers are image * N + center, -1 for none.

    Attributes:
      best: of each pixel.
      members: [C, k] int32 all masks that the pixel is in, most probable first.
      probabilities: [C, k] of the members; 0 for none.
    """

    best: Best
    members: tf.Tensor
    probabilities: tf.Tensor


BEST = Best(tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32))


def read_best(logits: tf.Tensor, image: tf.Tensor) -> Best:
    """Reads the best center of pixels [C, N] of images [C]."""
    best, largest = _best(logits, tf.nn.softmax(logits))
    return _numbered(best, largest, image, logits.shape[1])


def read_largest(logits: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Reads the largest probability only of pixels [C, N], whose logits are finite."""
    del image
    return tf.reduce_max(tf.nn.softmax(logits), axis=1)


def most_members(num_centers: int, threshold: float) -> int:
    """Returns k, of how many masks a pixel can be.

    Probabilities add up to 1, so those above a threshold are fewer than 1 / threshold: two at most
    for thresholds above 1/3.
    """
    if threshold >= 1 / 3 + _ROUNDING:
        return 2
    return min(num_centers, int(1 / max(threshold - _ROUNDING, _ROUNDING)))


def mask_reader(
    grid: MaskGrid, threshold: float
) -> tuple[Callable[[tf.Tensor, tf.Tensor], MaskReading], MaskReading]:
    """Returns what reads logits [C, N] of pixels of images [C], and the signature of its result.

    Args:
      grid: the mask logits.
      threshold: a pixel is in the masks whose probability exceeds it.
    """
    most = most_members(grid.num_centers, threshold)

    def read(logits: tf.Tensor, image: tf.Tensor) -> MaskReading:
        probability = tf.nn.softmax(logits)
        best, largest = _best(logits, probability)
        if threshold >= 1 / 3 + _ROUNDING:
            members, values = _two(best, largest, probability, threshold, grid.static)
        else:
            values, members = tf.math.top_k(probability, most)
            members = tf.where(values > threshold, members, -1)
        first = image[:, tf.newaxis] * grid.num_centers
        return MaskReading(
            _numbered(best, largest, image, grid.num_centers),
            tf.where(members >= 0, members + first, -1),
            tf.where(members >= 0, values, 0.0),
        )

    signature = MaskReading(
        BEST, tf.TensorSpec([most], tf.int32), tf.TensorSpec([most], tf.float32)
    )
    return read, signature


def _best(logits: tf.Tensor, probability: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns [C]: the place of the largest logit [C, N], the first of equals; its probability."""
    best = tf.argmax(logits, axis=1, output_type=tf.int32)
    return best, tf.gather(probability, best, batch_dims=1)


def _numbered(best: tf.Tensor, largest: tf.Tensor, image: tf.Tensor, num_centers: int) -> Best:
    """Numbers centers through the batch; NaN compares false."""
    finite = largest > 0
    return Best(tf.where(finite, best + image * num_centers, -1), tf.where(finite, largest, 0.0))


def _two(
    best: tf.Tensor, largest: tf.Tensor, probability: tf.Tensor, threshold: float, static: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the members [C, 2] of pixels, -1 for none, and their probabilities [C, 2]."""
    first = tf.where(largest > threshold, best, -1)
    # The second needs a look where it may exceed the threshold beside the first: at few pixels.
    contested = (largest > threshold) & (largest <= 1 - threshold + _ROUNDING)
    if static:
        second, value = _runner_up(probability, best)
        second = tf.where(contested & (value > threshold), second, -1)
    else:
        places = tf.where(contested)
        rows = places[:, 0]
        runner_up, of_runner_up = _runner_up(tf.gather(probability, rows), tf.gather(best, rows))
        runner_up = tf.where(of_runner_up > threshold, runner_up, -1)
        second = tf.tensor_scatter_nd_update(tf.fill(tf.shape(best), -1), places, runner_up)
        value = tf.scatter_nd(places, of_runner_up, tf.shape(best, tf.int64))
    return tf.stack([first, second], axis=1), tf.stack([largest, value], axis=1)


def _runner_up(probability: tf.Tensor, best: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns [C]: the second largest of each row [C, N], and its value."""
    is_best = tf.one_hot(best, probability.shape[1], True, False, dtype=tf.bool)
    others = tf.where(is_best, -1.0, probability)
    second = tf.argmax(others, axis=1, output_type=tf.int32)
    return second, tf.gather(others, second, batch_dims=1)
