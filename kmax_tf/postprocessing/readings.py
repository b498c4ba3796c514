"""What is read of pixels, off their logits: their best center, and the masks that they are in."""

from __future__ import annotations

from typing import NamedTuple, Union

import tensorflow as tf

from kmax_tf.postprocessing.full_size import probabilities

REJECTED_LOGIT = -99999.0
# Probabilities add up to 1 but for rounding, which this exceeds.
ROUNDING = 1e-6

# A number that is known, or a scalar that a graph is given.
Threshold = Union[float, tf.Tensor]


class Best(NamedTuple):
    """The best center of pixels.

    Attributes:
      center: int32 with the largest logit, the first of equals; -1 where a logit isn't finite.
      probability: its probability; 0 there.
    """

    center: tf.Tensor
    probability: tf.Tensor


class MaskReading(NamedTuple):
    """What is read of pixels, to rank and to paint masks.

    Attributes:
      best: of each pixel, whatever its class.
      masks: [..., L] int32 centers of all masks that the pixel is in, -1 for none.
      probabilities: [..., L] of the pixel in these; 0 for none.
    """

    best: Best
    masks: tf.Tensor
    probabilities: tf.Tensor


def at_most_two(num_centers: int, threshold: Threshold) -> bool:
    """Returns whether it is known that a pixel is in two masks at most."""
    return not tf.is_tensor(threshold) and _most_masks(num_centers, threshold) <= 2


def _most_masks(num_centers: int, threshold: Threshold) -> int | tf.Tensor:
    """Returns L, the most masks that a pixel can be in: fewer than 1 / threshold."""
    if not tf.is_tensor(threshold):
        return min(num_centers, int(1 / max(threshold - ROUNDING, ROUNDING)))
    most = tf.cast(1 / tf.maximum(threshold - ROUNDING, ROUNDING), tf.int32)
    return tf.clip_by_value(most, 1, num_centers)


def read_masks(logits: tf.Tensor, image: tf.Tensor, threshold: Threshold) -> MaskReading:
    """Reads which masks pixels [C, N] are in."""
    del image
    probability = probabilities(logits)
    best = best_of(logits, probability)
    if not at_most_two(logits.shape[1], threshold):
        values, masks = tf.math.top_k(probability, _most_masks(logits.shape[1], threshold))
        inside = values > threshold
        return MaskReading(best, tf.where(inside, masks, -1), tf.where(inside, values, 0.0))
    # XLA would sort all centers for the best two.
    both = [within(x, threshold) for x in (best, runner_up(probability, best.center))]
    return MaskReading(best, *(tf.stack(of_both, axis=1) for of_both in zip(*both)))


def within(best: Best, threshold: Threshold) -> Best:
    """Keeps the centers of pixels [C] whose probability exceeds a threshold."""
    inside = best.probability > threshold
    return Best(tf.where(inside, best.center, -1), tf.where(inside, best.probability, 0.0))


def runner_up(probability: tf.Tensor, best: tf.Tensor) -> Best:
    """Returns the second best center of pixels [C, N] whose best [C] is known."""
    is_best = tf.range(probability.shape[1]) == best[:, tf.newaxis]
    others = tf.where(is_best, -1.0, probability)
    second = tf.argmax(others, axis=1, output_type=tf.int32)
    return Best(second, tf.gather(others, second, batch_dims=1))


def read_survivor(logits: tf.Tensor, image: tf.Tensor, confident: tf.Tensor) -> tuple[Best, Best]:
    """Reads the best center of pixels [C, N] of images [C], and the best of confident ones."""
    surviving = tf.where(tf.gather(confident, image), logits, REJECTED_LOGIT)
    return best_of(logits, probabilities(logits)), best_of(surviving, probabilities(surviving))


def read_class(class_probabilities: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Reads the most probable class of pixels [C, K]; -1 where a probability isn't a number."""
    del image
    best = tf.argmax(class_probabilities, axis=1, output_type=tf.int32)
    return tf.where(tf.reduce_max(class_probabilities, axis=1) >= 0, best, -1)


def best_of(logits: tf.Tensor, probability: tf.Tensor) -> Best:
    """Returns the best center of pixels [C, N]. NaN compares false."""
    best = tf.argmax(logits, axis=1, output_type=tf.int32)
    largest = tf.gather(probability, best, batch_dims=1)
    finite = largest > 0
    return Best(tf.where(finite, best, -1), tf.where(finite, largest, 0.0))


def layers_of(masks: tf.Tensor) -> tf.Tensor:
    """Returns masks [..., L] as layers [L, ...], of which all pixels are compared at once."""
    if masks.shape[-1] is not None:  # an axis of few is slow to transpose
        return tf.stack(tf.unstack(masks, axis=-1))
    rank = masks.shape.rank
    return tf.transpose(masks, [rank - 1, *range(rank - 1)])  # [L, ...]
