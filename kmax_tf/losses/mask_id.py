"""Cross-entropy of each pixel over the cluster centers."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.term import Term, mean_of_nonzero
from kmax_tf.losses.truth import Truth


@dataclasses.dataclass(frozen=True)
class MaskId(Term):
    """The mean over pixels whose segment has a center."""

    name = "mask_id"

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""
        entropy, _ = prediction.pixel_entropy_and_mask_sizes
        return mean_of_nonzero(entropy)
