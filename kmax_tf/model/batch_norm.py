"""Batch normalization, whose moving statistics may be updated later, those of all layers at once.

The training step skips what isn't finite, so it is the step that decides whether statistics
move; and hundreds of small updates are made quicker together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.recompute import computing_again

_SMALLEST_EPSILON = 1.001e-5  # that cuDNN takes


@dataclasses.dataclass(frozen=True)
class BatchNormFactory:
    """Makes the batch normalizations of a model, all with the same options.

    Attributes:
      momentum: of the moving statistics.
      epsilon: added to the variance.
      synchronized: whether statistics are taken over all replicas. With a single replica the
        result is the same, so the faster local layer is made.
      unbiased_moving_variance: see `BatchNorm`.
    """

    momentum: float
    epsilon: float
    synchronized: bool
    unbiased_moving_variance: bool

    def __call__(
        self,
        name: str,
        axis: int | tuple[int, ...] = -1,
        initial_scale: float = 1.0,
        dtype: Optional[str] = None,
    ) -> keras.layers.Layer:
        """Returns a batch normalization with one scale and offset per index of `axis`.

        It computes in `dtype`, where that is given, whatever the precision policy.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return BatchNorm(
            unbiased=self.unbiased_moving_variance,
            axis=axis if isinstance(axis, int) else list(axis),
            momentum=self.momentum,
            epsilon=self.epsilon,
            gamma_initializer=keras.initializers.Constant(initial_scale),
            synchronized=self.synchronized and replicas > 1,
            dtype=dtype,
            name=name,
        )


class _State(threading.local):
    """What holds while layers are called. Replicas are traced in threads that take turns.

    Attributes:
      collected: values by the name of the statistic; None: they move the statistics at once.
      count: values that a statistic of the layer that is called is taken over.
    """

    collected: Optional[dict[str, tf.Tensor]] = None
    count: float | tf.Tensor = 0.0


_state = _State()


@contextlib.contextmanager
def collected_statistics() -> Iterator[dict[str, tf.Tensor]]:
    """Collects the values of a batch by the names of moving statistics, and leaves these as are."""
    before, _state.collected = _state.collected, {}
    try:
        yield _state.collected
    finally:
        _state.collected = before


def update_statistics(
    condition: tf.Tensor, layers: Iterable[BatchNorm], batches: Sequence[Mapping[str, tf.Tensor]]
) -> None:
    """Moves statistics towards those of batches, or leaves them as they are.

    Args:
      condition: scalar, whether they move.
      layers: whose statistics they are.
      batches: collected values, of one batch after another.
    """
    of_momentum: dict[float, list[tf.Variable]] = {}
    for layer in layers:
        for variable in (layer.moving_mean, layer.moving_variance):
            if variable.name in batches[0]:
                of_momentum.setdefault(layer.momentum, []).append(variable)
    if sum(map(len, of_momentum.values())) < len(batches[0]):
        raise ValueError("layers of the model were called that its attributes don't lead to")
    for momentum, variables in of_momentum.items():
        share = tf.where(condition, 1.0 - momentum, 0.0)
        state = _joined([variable.read_value() for variable in variables])
        for values in batches:
            change = state - _joined([values[variable.name] for variable in variables])
            # Also what isn't a number, times no share, is zero.
            state -= tf.math.multiply_no_nan(change, share)
        sizes = [variable.shape.num_elements() for variable in variables]
        for variable, value in zip(variables, tf.split(state, sizes)):
            variable.assign(_shaped(value, variable.shape))


def _joined(values: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.concat([_shaped(value, [value.shape.num_elements()]) for value in values], axis=0)


def _shaped(value: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    return value if list(value.shape) == list(shape) else tf.reshape(value, shape)


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization whose moving variance follows the biased variance of batches.

    That is the published behaviour. The fused operation, which is the fast one, gives the unbiased
    variance, n / (n - 1) times as large; what there is no operation for, the biased one.

    Attributes:
      unbiased: it follows the unbiased variance instead.
    """

    def __init__(self, unbiased: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.unbiased = unbiased

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Normalizes, in training by the statistics of the batch."""
        if not (training and self.trainable):
            return super().call(inputs, training=training)
        _state.count = _size(inputs) / self.moving_mean.shape.num_elements()
        return self._normalize(inputs) if self.fused else super().call(inputs, training=True)

    def _normalize(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes four axes by the fused operation alone: Keras makes 20 more beside it."""
        none = tf.zeros([0])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=none,
            variance=none,
            epsilon=max(self.epsilon, _SMALLEST_EPSILON),
            data_format="NHWC" if list(self.axis) == [3] else "NCHW",
        )
        self.add_update(lambda: self._update(self.moving_mean, mean))
        self.add_update(lambda: self._update(self.moving_variance, variance))
        return outputs

    def _assign_moving_average(
        self, variable: tf.Variable, value: tf.Tensor, momentum: float, inputs_size: Any
    ) -> None:
        """Updates a statistic, in place of Keras, where that doesn't fuse."""
        self._update(variable, value)

    def _update(self, variable: tf.Variable, value: tf.Tensor) -> None:
        """Moves a statistic towards that of the batch, or leaves that to who collects them."""
        if computing_again():
            return
        if variable is self.moving_variance:
            value = self._corrected(value)
        value = tf.cast(value, variable.dtype)
        if isinstance(_state.count, tf.Tensor):  # a replica's share of a batch may be empty
            value = tf.where(_state.count > 0.0, value, variable)
        if _state.collected is None:
            update_statistics(tf.constant(True), [self], [{variable.name: value}])
        else:
            _state.collected[variable.name] = value

    def _corrected(self, variance: tf.Tensor) -> tf.Tensor:
        """Turns the variance that an operation gives into that which moves the moving variance."""
        if bool(self.fused) == self.unbiased:
            return variance
        replicas = tf.distribute.get_strategy().num_replicas_in_sync if self.synchronized else 1
        count = _state.count * replicas
        if isinstance(count, tf.Tensor):
            others = tf.maximum(count - 1.0, 1.0)
        else:
            others = max(count - 1.0, 1.0)
        return variance * (count / others if self.unbiased else (count - 1.0) / count)


def _size(x: tf.Tensor) -> float | tf.Tensor:
    """Returns the number of entries: a float where it is known."""
    known = x.shape.num_elements()
    return tf.cast(tf.size(x), tf.float32) if known is None else float(known)
