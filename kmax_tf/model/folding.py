"""Folding: a copy of a model whose batch normalizations are part of the layers before them."""

from __future__ import annotations

from kmax_tf.model.kmax import KMaX


def fold_batch_norms(model: KMaX) -> KMaX:
    """Returns a copy of a model for inference, which computes the same with less.

    Batch normalizations are folded into convolutions and matrix products, and the semantic branch,
    a training signal, is left out. The outputs differ by rounding only. The copy cannot be trained.

    Args:
      model: with its weights; unchanged.
    """
    copy = KMaX.from_config(model.get_config())
    for name, part in copy.checkpoint_items.items():  # not the means that a compiled model tracks
        part.set_weights(model.checkpoint_items[name].get_weights())
    # Those inside come first: a mask head's factor goes into its folded projection.
    for layer in reversed([part for part in copy.submodules if hasattr(part, "fold")]):
        layer.fold()
    return KMaX(
        copy.backbone,
        copy.pixel_decoder,
        copy.transformer_decoder,
        copy.heads,
        feature_activation=copy.feature_activation,
        name=model.name,
    )
