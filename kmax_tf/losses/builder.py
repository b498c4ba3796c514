"""From the loss part of an experiment to the loss: the only file here that sees protos."""

from __future__ import annotations

from kmax_tf.losses.kmax_loss import KMaXLoss, LossOptions
from kmax_tf.losses.matching import match_in_graph, match_on_host, rounded
from kmax_tf.protos import experiment_pb2, training_pb2


def build_loss(experiment: experiment_pb2.Experiment) -> KMaXLoss:
    """Builds the loss of an experiment: (Targets, Predictions) -> {term: scalar}."""
    losses = experiment.losses
    runtime = experiment.runtime
    compiled = runtime.jit_compile or runtime.strategy == training_pb2.TPU
    match = match_in_graph if compiled else match_on_host
    contrastive = losses.instance_discrimination
    return KMaXLoss(
        LossOptions(
            num_classes=len(experiment.dataset.classes),
            ignore_label=experiment.dataset.ignore_label,
            pq_style_weight=losses.pq_style.weight,
            matched_share=losses.pq_style.matched_share,
            mask_id_weight=losses.mask_id.weight,
            instance_discrimination_weight=contrastive.weight,
            sample_count=contrastive.sample_count,
            temperature=contrastive.temperature,
            sample_temperature=contrastive.sample_temperature,
            semantic_weight=losses.semantic.weight,
            semantic_top_fraction=losses.semantic.top_fraction,
            unmatched_gradient=losses.unmatched_gradient,
        ),
        rounded(match, losses.matching_resolution) if losses.matching_resolution else match,
    )
