"""Training the Keras way: compile, then fit, evaluate, predict."""

from __future__ import annotations

from kmax_tf.keras_api import keras
from kmax_tf.losses.builder import build_loss
from kmax_tf.model.kmax import KMaX
from kmax_tf.protos import experiment_pb2
from kmax_tf.training.optimizer import build_optimizer


def compile_for_training(
    model: KMaX,
    experiment: experiment_pb2.Experiment,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    jit_compile: bool = False,
) -> KMaX:
    """Compiles a model with the loss and the optimizer of its experiment.

    Args:
      model: as `kmax_tf.build_model` returns it, built under the same distribution strategy.
      experiment: as `kmax_tf.load_experiment` returns it.
      optimizer: in place of the experiment's; a name or any Keras optimizer.
      jit_compile: compile the step with XLA, which pays on GPU and TPU only.

    Returns:
      The same model. `fit` and `evaluate` take datasets of (images, `structures.Targets`), such as
      `kmax_tf.build_dataset` makes, and report each loss term; `predict` gives `Predictions`.
    """
    if optimizer is None:
        optimizer = build_optimizer(experiment.training, model.backbone.trainable_variables)
    loss = build_loss(experiment)
    blocks = len(experiment.model.transformer_decoder.block_strides)
    model.set_loss(loss, loss.term_names(blocks, model.semantic_branch is not None))
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    return model
