"""What a term of the loss is.

A new one is a class in a file of its own, a message in losses.proto, and a line of the table in
losses/builder.py.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.truth import Truth


@dataclasses.dataclass(frozen=True)
class Term(abc.ABC):
    """A term of the loss: (truth, prediction) -> [B], without its weight.

    Its fields are those of its message that it reads.

    Attributes:
      name: of the term in logs.
      reads: the entry of `Predictions` that it is about: predictions without it lack the term.
      weight: of the term in the sum; 0 switches it off.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "mask_logits"
    weight: float

    @abc.abstractmethod
    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""


def mean_of_nonzero(values: tf.Tensor) -> tf.Tensor:
    """Returns [B]: the mean over the entries of [B, P] that are not zero; 0 where all are."""
    count = tf.reduce_sum(tf.cast(values != 0.0, tf.float32), axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(values, axis=1), count)
