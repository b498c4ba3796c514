"""The whole loss: matching once, then every term for the final and each intermediate prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from kmax_tf.losses.matching import Matcher
from kmax_tf.losses.prediction import Prediction
from kmax_tf.losses.term import Term
from kmax_tf.losses.truth import TruthOptions, match_truth
from kmax_tf.structures import Predictions, Targets


class KMaXLoss:
    """(Targets, Predictions) -> {term: scalar}. Their `total_loss` is the training loss.

    Terms are weighted means over the batch. Those of the final prediction have the names of the
    terms; those of the prediction that kMaX block i starts from are `block<i>/...`. All share one
    matching, made on the final prediction.

    Attributes:
      terms: those whose weight isn't 0.
    """

    def __init__(self, terms: Sequence[Term], options: TruthOptions, match: Matcher):
        self.terms = [term for term in terms if term.weight]
        self.options = options
        self.match = match

    def __call__(self, targets: Targets, predictions: Predictions) -> dict[str, tf.Tensor]:
        """Returns the mean of each term over the batch."""
        return {
            name: tf.reduce_mean(values)
            for name, values in self.per_example(targets, predictions).items()
        }

    def per_example(self, targets: Targets, predictions: Predictions) -> dict[str, tf.Tensor]:
        """Returns each weighted term, [B]."""
        truth = match_truth(targets, predictions, self.options, self.match)
        values = {}
        for prefix, outputs in _parts(predictions):
            prediction = Prediction(outputs, truth)
            for term in self._terms_of(outputs):
                values[prefix + term.name] = term.weight * term(truth, prediction)
        return values

    def term_names(self, predictions: Predictions) -> list[str]:
        """Returns the names of the terms of predictions, whose values aren't looked at."""
        return [
            prefix + term.name
            for prefix, outputs in _parts(predictions)
            for term in self._terms_of(outputs)
        ]

    def _terms_of(self, outputs: Predictions) -> list[Term]:
        return [term for term in self.terms if term.reads in outputs]


def total_loss(terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the sum of all terms."""
    return tf.add_n(list(terms.values()))


def _parts(predictions: Predictions) -> Iterator[tuple[str, Predictions]]:
    """Yields the final prediction and those of the kMaX blocks, with the prefix of their terms."""
    yield "", predictions
    for i, prediction in enumerate(predictions.get("intermediate", []), start=1):
        yield f"block{i}/", prediction
