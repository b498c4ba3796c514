"""Folding: a copy of a model whose batch normalizations are part of the layers before them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Optional

from kmax_tf.keras_api import keras
from kmax_tf.model.builder import build_model_from_text
from kmax_tf.model.kmax import KMaX


def fold_batch_norms(model: KMaX, precision: Optional[str] = None) -> KMaX:
    """Returns a copy of a model for inference, which computes the same with less.

    Batch normalizations are folded into convolutions and matrix products, and the semantic branch,
    a training signal, is left out. The outputs differ by rounding only. The copy cannot be trained.

    Args:
      model: with its weights; unchanged.
      precision: that the copy computes in, as Keras' policies are named ("mixed_bfloat16"); None:
        that of the policy that is set.
    """
    # Built once: what it computes is asked of its layers again at each call.
    with _policy(precision):
        copy = build_model_from_text(model.experiment_text, semantic_branch=False)
    for name, part in copy.checkpoint_items.items():  # all but the semantic branch
        part.set_weights(model.checkpoint_items[name].get_weights())
    # Those inside come first: a mask head's factor goes into its folded projection.
    for layer in reversed([part for part in copy.submodules if hasattr(part, "fold")]):
        layer.fold()
    return copy


@contextlib.contextmanager
def _policy(name: Optional[str]) -> Iterator[None]:
    """Builds layers inside under one of Keras' policies."""
    before = keras.mixed_precision.global_policy()
    try:
        keras.mixed_precision.set_global_policy(name or before)
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
