"""A training step, the same for trainer.py and for fit.

Gradients of parts of the batch -> their sum over parts and replicas -> clipped -> applied, if all
is finite -> counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Callable, Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.losses.kmax_loss import KMaXLoss, total_loss
from kmax_tf.model.batch_norm import BatchNorm, collected_statistics, update_statistics
from kmax_tf.model.kmax import KMaX
from kmax_tf.structures import Targets
from kmax_tf.training.optimizer import GroupedOptimizer, without_loss_scaling
from kmax_tf.training.stability import FailureCounter

# By the name of the variable.
Values = dict[str, tf.Tensor]
# Stacked terms, gradients of what they depend on, and the statistics of each part of the batch.
Parts = tuple[tf.Tensor, Values, list[Values]]


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """Settings of a step.

    Attributes:
      clip_norm: largest global norm of the gradients; 0: no clipping.
      micro_batches: parts that a replica's share of the batch is worked through in.
      jit_compile: compile with XLA: the whole step, or with several replicas, which can't meet
        inside, all but the update.
    """

    clip_norm: float
    micro_batches: int
    jit_compile: bool


class TrainingStep:
    """(images [B, H, W, 3], targets) of a replica -> its loss terms and more, having trained.

    The result has each term, their sum "loss" and "gradient_norm", the norm before clipping. A step
    that was skipped reports the values of the last one that wasn't.

    Attributes:
      optimizer: a `GroupedOptimizer`, or one with loss scaling.
      failures: counts of failed steps.
    """

    def __init__(
        self,
        model: KMaX,
        loss: KMaXLoss,
        term_names: Sequence[str],
        optimizer: keras.optimizers.Optimizer,
        options: StepOptions,
    ):
        """Makes the step and its counters, under the model's distribution strategy.

        Raises:
          ValueError: variables of the model share a name, by which the step knows them.
        """
        names = [variable.name for variable in model.variables]
        if len(set(names)) < len(names):
            shared = ", ".join(sorted({name for name in names if names.count(name) > 1}))
            raise ValueError(f"variables of one name: {shared}. Give their layers different names.")
        self.model = model
        self.loss = loss
        self.term_names = list(term_names)
        self.optimizer = optimizer
        self.options = options
        self.failures = FailureCounter(term_names, [v.name for v in model.trainable_variables])
        self._norms = [layer for layer in model.submodules if isinstance(layer, BatchNorm)]
        self._last = tf.Variable(
            tf.fill([len(self.value_names)], float("nan")),
            trainable=False,
            name="last_values",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    @property
    def value_names(self) -> list[str]:
        """Returns the names of what a step reports."""
        return [*self.term_names, "loss", "gradient_norm"]

    def begin(self) -> None:
        """Creates the state of the optimizer, if it is one of ours."""
        if self._grouped_optimizer is not None:
            self._grouped_optimizer.begin(self.model.trainable_variables)

    def hold_averages(self, averages: bool) -> None:
        """Puts averaged weights into the model, or takes them out, where there are any."""
        if self._grouped_optimizer is not None:
            self._grouped_optimizer.hold_averages(self.model.trainable_variables, averages)

    @property
    def _grouped_optimizer(self) -> Optional[GroupedOptimizer]:
        optimizer = without_loss_scaling(self.optimizer)
        return optimizer if isinstance(optimizer, GroupedOptimizer) else None

    @tf.autograph.experimental.do_not_convert  # plain Python throughout, which is faster to trace
    def __call__(self, images: tf.Tensor, targets: Targets) -> dict[str, tf.Tensor]:
        """Trains with one replica's share of a batch."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if not self.options.jit_compile:
            values = self._step(self._gradients, images, targets)
        elif replicas == 1:
            compiled = tf.function(self._step, jit_compile=True, autograph=False)
            values = compiled(self._gradients, images, targets)
        else:
            compiled = tf.function(self._gradients, jit_compile=True, autograph=False)
            values = self._step(compiled, images, targets)
        return dict(zip(self.value_names, tf.unstack(values)))

    def _step(
        self, make_gradients: Callable[..., Parts], images: tf.Tensor, targets: Targets
    ) -> tf.Tensor:
        """Trains; returns the values that it reports, stacked."""
        terms, gradients, statistics = make_gradients(images, targets)
        # Every replica sees the sums, so that all decide alike.
        total_terms, gradients = _sum_over_replicas((terms, gradients))
        scaling = isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer)
        scale = self.optimizer.loss_scale if scaling else tf.constant(1.0)
        if scaling:
            unscaled = self.optimizer.get_unscaled_gradients(list(gradients.values()))
            gradients = dict(zip(gradients, unscaled))

        half_squares = tf.stack(
            [
                tf.nn.l2_loss(gradients[name]) if name in gradients else tf.constant(0.0)
                for name in self.failures.variable_names
            ]
        )
        norm = tf.sqrt(2.0 * tf.reduce_sum(half_squares))
        terms_finite = tf.math.is_finite(total_terms)
        all_terms_finite = tf.reduce_all(terms_finite)
        finite = all_terms_finite & tf.math.is_finite(norm)

        self._apply(finite, gradients, _clipping(norm, self.options.clip_norm))
        update_statistics(finite, self._norms, statistics)
        overflow = all_terms_finite & (scale > 1.0)  # float16's: the loss scale will be lowered
        failed = ~(finite | overflow)
        self.failures.record(~finite, failed, terms_finite, tf.math.is_finite(half_squares))
        values = tf.concat([terms, [tf.reduce_sum(terms), norm]], axis=0)
        values = tf.where(finite, values, self._last.read_value())
        self._last.assign(values)
        return values

    def _apply(self, finite: tf.Tensor, gradients: Values, factor: tf.Tensor) -> None:
        """Updates variables by factor * gradient, if all is finite.

        Those that the loss doesn't depend on stay as they are: they don't even decay.
        """
        variables = self.model.trainable_variables
        pairs = [(gradients[v.name], v) for v in variables if v.name in gradients]
        if hasattr(self.optimizer, "apply_gradients_if"):
            self.optimizer.apply_gradients_if(finite, pairs, factor)
            return
        pairs = [(gradient * factor, variable) for gradient, variable in pairs]
        if isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer):
            # It skips a step by itself when it sees something that isn't finite.
            (first, variable), *others = pairs
            pairs = [(tf.where(finite, first, float("nan")), variable), *others]
        self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)

    def _gradients(self, images: tf.Tensor, targets: Targets) -> Parts:
        """Returns the terms and the gradients of this replica's share of the mean loss."""
        count = self.options.micro_batches
        if count == 1:
            return self._gradients_of_part(images, targets)
        parts = zip(
            tf.split(images, count),
            *(tf.split(value, count) for value in targets.values()),
        )
        sums: list[tf.Tensor] = []
        statistics = []
        for part_images, *values in parts:
            # One part after another, so that only one needs memory. Without the group, every
            # operation of a part would wait for every gradient by an edge of its own.
            with tf.control_dependencies([tf.group(*sums)] if sums else []):
                part_targets = Targets(**dict(zip(targets, values)))  # type: ignore[typeddict-item]
                terms, gradients, of_part = self._gradients_of_part(part_images, part_targets)
                statistics += of_part
                part = [terms / count, *gradients.values()]
                sums = [a + b for a, b in zip(sums, part)] if sums else part
        terms, *summed = sums
        return terms, dict(zip(gradients, summed)), statistics

    def _gradients_of_part(self, images: tf.Tensor, targets: Targets) -> Parts:
        shares = tf.distribute.get_strategy().num_replicas_in_sync * self.options.micro_batches
        with tf.GradientTape() as tape, collected_statistics() as statistics:
            terms = self.loss(targets, self.model(images, training=True))
            share = total_loss(terms) / shares
            if isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer):
                share = self.optimizer.get_scaled_loss(share)
        variables = {variable.name: variable for variable in self.model.trainable_variables}
        # Those of position tables come as slices in which a row occurs many times: the norm of the
        # slices isn't that of their sum.
        gradients = {
            name: tf.convert_to_tensor(gradient)
            for name, gradient in tape.gradient(share, variables).items()
            if gradient is not None
        }
        return tf.stack([terms[name] for name in self.term_names]), gradients, [statistics]


def _sum_over_replicas(values: tuple[tf.Tensor, Values]) -> tuple[tf.Tensor, Values]:
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def _clipping(norm: tf.Tensor, largest: float) -> tf.Tensor:
    """Returns what shortens gradients of a norm to the largest one, as TensorFlow computes it."""
    one = tf.constant(1.0)
    return largest * tf.minimum(one / norm, one / largest) if largest else one
