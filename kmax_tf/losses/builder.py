"""From the loss part of an experiment to the loss: the only file here that sees protos."""

from __future__ import annotations

from kmax_tf.config import options_of
from kmax_tf.losses.instance_discrimination import InstanceDiscrimination
from kmax_tf.losses.kmax_loss import KMaXLoss
from kmax_tf.losses.mask_id import MaskId
from kmax_tf.losses.matching import match_in_graph, match_on_host, rounded
from kmax_tf.losses.pq_style import PqClass, PqMask
from kmax_tf.losses.semantic import Semantic
from kmax_tf.losses.term import Term
from kmax_tf.losses.truth import TruthOptions
from kmax_tf.protos import experiment_pb2, training_pb2

# The terms that each message of losses stands for, in the order of the logs.
TERMS: dict[str, tuple[type[Term], ...]] = {
    "pq_style": (PqMask, PqClass),
    "mask_id": (MaskId,),
    "instance_discrimination": (InstanceDiscrimination,),
    "semantic": (Semantic,),
}


def build_loss(experiment: experiment_pb2.Experiment) -> KMaXLoss:
    """Builds the loss of an experiment: (Targets, Predictions) -> {term: scalar}."""
    losses = experiment.losses
    runtime = experiment.runtime
    compiled = runtime.jit_compile or runtime.strategy == training_pb2.TPU
    match = match_in_graph if compiled else match_on_host
    num_classes = len(experiment.dataset.classes)
    return KMaXLoss(
        [options_of(term, getattr(losses, name)) for name in TERMS for term in TERMS[name]],
        options_of(TruthOptions, losses, experiment.dataset, num_classes=num_classes),
        rounded(match, losses.matching_resolution) if losses.matching_resolution else match,
    )
