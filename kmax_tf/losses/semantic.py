"""Cross-entropy of the auxiliary semantic branch."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.term import Term, mean_of_nonzero
from kmax_tf.losses.truth import Truth
from kmax_tf.ops.resizing import subsample


@dataclasses.dataclass(frozen=True)
class Semantic(Term):
    """The mean over the branch's own grid, or the part of it with the largest losses."""

    name = "semantic"
    reads = "semantic_logits"
    top_fraction: float

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""
        logits = prediction.outputs["semantic_logits"]
        ids, weights = (
            ops.pixels_of(subsample(truth.targets[key], logits))
            for key in ("semantic_map", "semantic_weights")
        )
        weights *= tf.cast(ids != truth.options.ignore_label, tf.float32)
        return semantic_cross_entropy(ops.pixels_of(logits), ids, weights, self.top_fraction)


def semantic_cross_entropy(
    semantic_logits: tf.Tensor, semantic_ids: tf.Tensor, weights: tf.Tensor, top_fraction: float
) -> tf.Tensor:
    """Cross-entropy of the auxiliary semantic branch.

    Args:
      semantic_logits: [B, P', num_ids].
      semantic_ids: [B, P'] int32.
      weights: [B, P']; 0 for unlabeled pixels.
      top_fraction: share of the pixels, those with the largest losses, that is kept.

    Returns:
      [B]: mean over the kept pixels whose term is not zero.
    """
    ids = tf.where(weights > 0.0, semantic_ids, 0)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, semantic_logits) * weights
    if top_fraction < 1.0:
        pixels = tf.cast(tf.shape(entropy)[1], tf.float32)
        kept = tf.cast(tf.round(top_fraction * pixels), tf.int32)
        entropy = tf.math.top_k(entropy, k=tf.maximum(kept, 1), sorted=False).values
    return mean_of_nonzero(entropy)
