"""The loss as its formulas read: the yardstick of benchmarks/train_step.py.

Segments are dense one-hot masks, every prediction is resized as a whole, the matching is that of
the full padded matrix (plain_matching.py), and the contrastive term multiplies all pairs. The sum
agrees with that of `kmax_tf.losses.KMaXLoss`, up to which pixels the contrastive terms sample.
"""

from __future__ import annotations

import plain_matching
import tensorflow as tf

from kmax_tf.config import Experiment
from kmax_tf.losses.instance_discrimination import sample_pixels
from kmax_tf.losses.term import mean_of_nonzero
from kmax_tf.ops.resizing import resize_bilinear, subsample
from kmax_tf.structures import Predictions, Targets

FLOOR = 1e-5
FORBIDDEN = 999.0


class PlainLoss:
    """(Targets, Predictions) -> the sum of all terms."""

    def __init__(self, experiment: Experiment):
        self.options = experiment.losses
        self.num_classes = len(experiment.dataset.classes)
        self.ignore_label = experiment.dataset.ignore_label

    def __call__(self, targets: Targets, predictions: Predictions) -> tf.Tensor:
        """Returns the total loss."""
        height, width = predictions["mask_logits"].shape[1:3]
        count = targets["segment_classes"].shape[1]
        segments = subsample(targets["segment_map"], predictions["mask_logits"])
        masks = flat(tf.one_hot(segments, count))  # [B, P, M]
        semantic = flat(subsample(targets["semantic_map"], predictions["mask_logits"]))
        labeled = tf.cast(semantic != self.ignore_label, tf.float32)
        classes = targets["segment_classes"]
        areas = tf.reduce_sum(masks, axis=1)
        valid = (areas > 0) & (classes >= 0)

        probability = tf.nn.softmax(flat(predictions["mask_logits"])) * labeled[..., tf.newaxis]
        overlap = tf.einsum("bpm,bpn->bmn", masks, probability)
        union = (areas[:, :, tf.newaxis] + tf.reduce_sum(probability, axis=1)[:, tf.newaxis]) / 2
        mask_similarity = overlap / (union + FLOOR)
        of_class = tf.one_hot(classes, self.num_classes + 1)
        class_similarity = tf.einsum(
            "bmk,bnk->bmn", of_class, tf.nn.softmax(predictions["class_logits"])
        )
        places = self.match(mask_similarity * class_similarity, valid)  # [B, M, N]
        chosen = places * tf.cast(valid, tf.float32)[..., tf.newaxis]

        void = tf.nn.softmax(flat(predictions["mask_logits"]))
        size = tf.reduce_sum(void, axis=1)
        unlabeled = tf.reduce_sum(void * (1 - labeled)[..., tf.newaxis], axis=1) / (size + FLOOR)
        weights = (
            tf.stop_gradient(tf.reduce_sum(chosen * class_similarity, axis=2)),
            tf.stop_gradient(
                tf.reduce_sum(chosen * mask_similarity, axis=1)
                + (1 - tf.reduce_sum(chosen, axis=1)) * unlabeled
            ),
        )
        total = 0.0
        for prediction in [predictions, *predictions["intermediate"]]:
            mask_logits, embeddings = (
                flat(resize_bilinear(x, (height, width)))
                for x in (prediction["mask_logits"], prediction["pixel_embeddings"])
            )
            total += self.mask_terms(mask_logits, masks, labeled, places, valid, weights[0])
            total += self.class_term(prediction["class_logits"], of_class, chosen, weights[1])
            total += self.contrastive_term(embeddings, masks, labeled, areas)
        return tf.reduce_mean(total + self.semantic_term(targets, predictions))

    def match(self, similarity: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Returns [B, M, N]: a permutation; segments that are padding get the centers left over."""
        padding = FORBIDDEN * (1 - tf.cast(valid, tf.float32))[..., tf.newaxis]
        columns = plain_matching.match(tf.stop_gradient(padding - similarity))
        return tf.one_hot(columns, similarity.shape[2])

    def mask_terms(self, mask_logits, masks, labeled, places, valid, weights) -> tf.Tensor:
        """Returns the Dice and the cross-entropy term, with centers in the order of segments."""
        options = self.options
        logits = tf.einsum("bpn,bmn->bpm", mask_logits, places)
        entropy = tf.nn.softmax_cross_entropy_with_logits(masks, logits) * labeled
        kept = tf.reduce_sum(masks, axis=2, keepdims=True)
        probability = tf.nn.softmax(logits) * kept
        intersection = tf.reduce_sum(probability * masks, axis=1)
        sizes = tf.reduce_sum(probability, axis=1) + tf.reduce_sum(masks, axis=1)
        dice = tf.where(valid, 1 - (2 * intersection + 1) / (sizes + 1), 0.0)
        dice = tf.reduce_sum(dice * tf.maximum(weights, FLOOR), axis=1) / mask_logits.shape[2]
        return (
            options.pq_style.weight * options.pq_style.matched_share * dice
            + options.mask_id.weight * mean_of_nonzero(entropy)
        )

    def class_term(self, class_logits, of_class, chosen, weights) -> tf.Tensor:
        """Returns the weighted class term."""
        options = self.options
        target = tf.einsum("bmn,bmk->bnk", chosen, of_class)
        matched = tf.reduce_sum(chosen, axis=1)
        target += (
            tf.one_hot(self.num_classes, self.num_classes + 1) * (1 - matched)[..., tf.newaxis]
        )
        of_matched = options.pq_style.matched_share
        share = of_matched * matched + (1 - of_matched) * (1 - matched)
        entropy = tf.nn.softmax_cross_entropy_with_logits(target, class_logits)
        return options.pq_style.weight * mean_of_nonzero(
            entropy * share * tf.maximum(weights, FLOOR)
        )

    def contrastive_term(self, embeddings, masks, labeled, areas) -> tf.Tensor:
        """Returns the weighted contrastive term."""
        options = self.options.instance_discrimination
        segments = tf.where(tf.reduce_any(masks > 0, axis=2), tf.argmax(masks, 2), -1)
        indices = sample_pixels(
            segments,
            labeled > 0,
            areas,
            options.sample_count,
            options.sample_temperature,
            tf.random.uniform(tf.shape(segments)),
        )
        vectors = tf.gather(embeddings, indices, batch_dims=1)
        sampled = tf.gather(masks, indices, batch_dims=1)
        same = tf.matmul(sampled, sampled, transpose_b=True)  # [B, S, S]
        same /= tf.maximum(tf.reduce_sum(same, axis=2, keepdims=True), 1.0)
        logits = tf.matmul(vectors, vectors, transpose_b=True) / options.temperature
        entropy = tf.nn.softmax_cross_entropy_with_logits(same, logits)
        return options.weight * mean_of_nonzero(entropy)

    def semantic_term(self, targets, predictions) -> tf.Tensor:
        """Returns the weighted term of the semantic branch."""
        logits = predictions["semantic_logits"]
        ids = flat(subsample(targets["semantic_map"], logits))
        weights = flat(subsample(targets["semantic_weights"], logits))
        weights *= tf.cast(ids != self.ignore_label, tf.float32)
        one_hot = tf.one_hot(ids, logits.shape[3])
        entropy = tf.nn.softmax_cross_entropy_with_logits(one_hot, flat(logits)) * weights
        return self.options.semantic.weight * mean_of_nonzero(entropy)


def flat(x: tf.Tensor) -> tf.Tensor:
    """Returns [B, H * W, ...] of [B, H, W, ...]."""
    return tf.reshape(x, [x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]])
