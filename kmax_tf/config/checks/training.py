"""What must hold between the options of losses, training and devices."""

from __future__ import annotations

from collections.abc import Iterator

from kmax_tf.config.problems import Problem
from kmax_tf.config.strides import mask_stride
from kmax_tf.grids import grid_side
from kmax_tf.protos import training_pb2
from kmax_tf.protos.experiment_pb2 import Experiment
from kmax_tf.wording import count_of


def _samples(experiment: Experiment) -> Iterator[Problem]:
    term = experiment.losses.instance_discrimination
    crop = experiment.train_data.crop_size
    if not term.weight or len(crop) != 2 or not experiment.model.pixel_decoder.stages:
        return
    stride = mask_stride(experiment.model)
    height, width = (grid_side(side, stride) for side in crop)
    if term.sample_count > height * width:
        yield Problem(
            "losses.instance_discrimination.sample_count",
            f"{count_of(term.sample_count, 'pixel')} cannot be sampled from the {height} x {width} "
            f"= {height * width} of the mask logits (stride {stride}); lower it",
        )


def _loss_weights(experiment: Experiment) -> Iterator[Problem]:
    losses = experiment.losses
    terms = [field.name for field in losses.DESCRIPTOR.fields if field.message_type]
    if not any(getattr(losses, term).weight for term in terms):
        yield Problem("losses", "every term has weight 0: nothing would be learnt")


def _schedule(experiment: Experiment) -> Iterator[Problem]:
    training, optimizer = experiment.training, experiment.training.optimizer
    if optimizer.warmup_steps > training.steps:
        yield Problem(
            "training.optimizer.warmup_steps",
            f"{optimizer.warmup_steps} is more than training.steps {training.steps}; lower it too",
        )
    if optimizer.end_learning_rate > optimizer.learning_rate:
        yield Problem(
            "training.optimizer.end_learning_rate",
            f"{optimizer.end_learning_rate:g} is more than learning_rate "
            f"{optimizer.learning_rate:g}",
        )
    if training.summary_interval % training.steps_per_loop:
        yield Problem(
            "training.summary_interval",
            f"{training.summary_interval} must be a multiple of steps_per_loop "
            f"{training.steps_per_loop}: summaries are written between loops",
        )


def _start(experiment: Experiment) -> Iterator[Problem]:
    training = experiment.training
    if training.initial_checkpoint and training.initial_weights:
        yield Problem(
            "training.initial_weights",
            "training starts from initial_checkpoint already; leave one of them empty",
        )


def _runtime(experiment: Experiment) -> Iterator[Problem]:
    runtime = experiment.runtime
    on_tpu = runtime.strategy == training_pb2.TPU
    if runtime.tpu and not on_tpu:
        yield Problem("runtime.tpu", "has no effect unless strategy is TPU; set that too")
    if on_tpu and runtime.precision == training_pb2.MIXED_FLOAT16:
        yield Problem("runtime.precision", "TPUs have no float16; take MIXED_BFLOAT16")


def batch_divides(experiment: Experiment, num_replicas: int) -> Iterator[Problem]:
    """Yields the problem of a batch that replicas, and parts of a step, cannot share."""
    batch = experiment.train_data.batch_size
    parts = experiment.training.optimizer.micro_batches
    shares = num_replicas * parts
    if batch % shares:
        near = max(batch // shares, 1) * shares
        by = count_of(num_replicas, "replica") + (f" x {parts} micro_batches" if parts > 1 else "")
        yield Problem("train_data.batch_size", f"{batch} cannot be shared by {by}; {near} can")


CHECKS = (_samples, _loss_weights, _schedule, _start, _runtime)
