"""The softmax of each pixel over the centers: all that the mask terms need of it."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from kmax_tf.ops.choice import choose


def softmax_entropy_and_sums(
    logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the cross-entropy of each pixel and the weighted sums of probabilities.

    Args:
      logits: [B, P, N] float32.
      targets: [B, P] int32 centers; -1: none, whose cross-entropy is the log of the normalizer,
        as if the target's logit were 0.
      weights: [B, P] of the pixels in the sums, without gradient.

    Returns:
      cross-entropies [B, P] and sums [B, N].
    """
    return choose(_definition, anywhere=_together)(logits, targets, weights)


def _definition(
    logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    log_sum = tf.reduce_logsumexp(logits, axis=2)
    of_target = tf.gather(logits, tf.maximum(targets, 0), batch_dims=2)
    cross_entropy = log_sum - tf.where(targets >= 0, of_target, 0.0)
    return cross_entropy, tf.einsum("bpn,bp->bn", tf.nn.softmax(logits), weights)


def _together(
    logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes both in few passes, as they read the same probabilities: one softmax.

    Their gradients by the logits have the same form: one product of probabilities with a matrix of
    rank 2.
    """

    @tf.custom_gradient
    def compute(
        logits: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
        probability = tf.nn.softmax(logits)
        present = targets >= 0
        centers = tf.maximum(targets, 0)
        of_target = tf.where(present, tf.gather(logits, centers, batch_dims=2), 0.0)
        # The largest probability is that of the largest logit: exp(0) over the sum of the rest.
        log_sum = -tf.math.log(tf.reduce_max(probability, axis=2))
        cross_entropy = tf.reduce_max(logits, axis=2) - of_target + log_sum
        sums = tf.einsum("bpn,bp->bn", probability, weights)

        def gradient(of_entropy: tf.Tensor, of_sums: tf.Tensor) -> tf.Tensor:
            mean = tf.einsum("bpn,bn->bp", probability, of_sums)
            by_pixel = tf.stack([of_entropy - weights * mean, weights], axis=2)  # [B, P, 2]
            by_center = tf.stack([tf.ones_like(of_sums), of_sums], axis=1)  # [B, 2, N]
            result = probability * tf.matmul(by_pixel, by_center)
            return _subtract_at(result, centers, tf.where(present, of_entropy, 0.0))

        return (cross_entropy, sums), gradient

    return compute(logits)


def _subtract_at(x: tf.Tensor, indices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Subtracts a value from one entry of each pixel. [B, P, N], [B, P], [B, P] -> [B, P, N]."""
    return choose(_subtract_one_hot, on_cpus=_subtract_scattered)(x, indices, values)


def _subtract_one_hot(x: tf.Tensor, indices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return x - tf.one_hot(indices, x.shape[2]) * values[:, :, tf.newaxis]


def _subtract_scattered(x: tf.Tensor, indices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    rows = tf.range(tf.size(indices)) * x.shape[2]
    places = rows + tf.reshape(indices, [-1])
    flat = tf.tensor_scatter_nd_sub(
        tf.reshape(x, [-1]), places[:, tf.newaxis], tf.reshape(values, [-1])
    )
    return tf.reshape(flat, tf.shape(x))
