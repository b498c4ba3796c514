"""The optimizers: an algorithm from a library, and what we add to all of them.

They are optimizers of Keras' legacy interface, because that has a hook for the update of a single
variable, where rates, decay and copies of the weights have their place.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Optional, cast

import tensorflow as tf
from official.modeling.optimization import lamb

from kmax_tf.errors import UserError
from kmax_tf.keras_api import keras
from kmax_tf.training.groups import VariableGroups

_REPLICA = re.compile(r"/replica_\d+")


@dataclasses.dataclass(frozen=True)
class Lookahead:
    """Every few steps the weights go back part of the way they came (arXiv 1907.08610).

    Attributes:
      period: steps between returns to the slow weights.
      kept_share: of the way from the slow weights that is kept.
    """

    period: int
    kept_share: float


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is added to an algorithm.

    Attributes:
      groups: the rates of variables, and which of them decay.
      weight_decay: relative to the rate, decoupled from the gradient.
      averaging: share of a moving average of the weights that stays in a step; less in the first
        ones. None: there is no average.
      lookahead: None: there is none.
    """

    groups: VariableGroups
    weight_decay: float
    averaging: Optional[float]
    lookahead: Optional[Lookahead]


class GroupedOptimizer(keras.optimizers.legacy.Optimizer):
    """Adds `Rules` to the algorithm that follows it in the order of base classes.

    A variable that decays loses rate * weight_decay of itself before the algorithm's update.
    Copies of the weights, averages and slow ones, are slots, so checkpoints have them.

    Attributes:
      rules: see there.
      holds_averages: whether the model holds the averages now and the slots its own weights. It is
        in checkpoints, which are written that way.
      idle: the algorithm's coefficients with which a gradient of zero changes nothing; None: it has
        none, so a skipped step takes a branch, in which thousands of operations take seconds longer
        to make.
    """

    idle: Optional[Mapping[str, float]] = None

    def __init__(self, rules: Rules, **algorithm: Any):
        super().__init__(**algorithm)
        self.rules = rules
        self._apply_if: Optional[tf.Tensor] = None
        if rules.averaging is not None:
            self.holds_averages = tf.Variable(False, trainable=False, name="holds_averages")
            self._track_trackable(self.holds_averages, "holds_averages")

    def begin(self, variables: Iterable[tf.Variable]) -> None:
        """Creates all state; before the first step, copies of the weights start as the weights.

        Call it when the weights have got their initial values, so that a first checkpoint is whole.
        """
        variables = list(variables)
        self._create_all_weights(variables)
        if int(self.iterations.numpy()) == 0:
            for variable in variables:
                for name in self._copies():
                    self.get_slot(variable, name).assign(variable)

    def hold_averages(self, variables: Iterable[tf.Variable], averages: bool) -> None:
        """Puts the averages into the model, or its own weights back; nothing if it is so already.

        Args:
          variables: the model's trainable ones.
          averages: which of the two.
        """
        if self.rules.averaging is None or bool(self.holds_averages.numpy()) == averages:
            return
        for variable in variables:
            other = self.get_slot(variable, "average")
            current = tf.identity(variable)
            variable.assign(tf.identity(other))
            other.assign(current)
        self.holds_averages.assign(averages)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, tf.Variable]], *args: Any, **kwargs: Any
    ) -> Any:
        """Applies gradients, as Keras does; those of gathered rows are made dense for the rules."""
        dense = [
            (gradient if gradient is None else tf.convert_to_tensor(gradient), variable)
            for gradient, variable in grads_and_vars
        ]
        return super().apply_gradients(dense, *args, **kwargs)

    def apply_gradients_if(
        self,
        condition: tf.Tensor,
        grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]],
        factor: float | tf.Tensor = 1.0,
    ) -> None:
        """Applies gradients that are summed over replicas, or only counts the step.

        Args:
          condition: scalar, the same on all replicas.
          grads_and_vars: as in `apply_gradients`.
          factor: of all gradients.
        """
        self._apply_if = condition
        if self.idle is not None:
            factor = tf.where(condition, factor, 0.0)
        # Also what isn't a number, times zero, is zero.
        scaled = [
            (tf.math.multiply_no_nan(gradient, factor), variable)
            for gradient, variable in grads_and_vars
        ]
        self.apply_gradients(scaled, experimental_aggregate_gradients=False)
        self._apply_if = None

    def _distributed_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Updates all variables: here replicas have met, so that they may branch together."""
        update = functools.partial(super()._distributed_apply, *args, **kwargs)
        if self._apply_if is None or self.idle is not None:
            return update()

        def apply() -> tf.Tensor:
            update()
            return tf.constant(True)

        def skip() -> tf.Tensor:
            self.iterations.assign_add(1)
            return tf.constant(False)

        return tf.cond(self._apply_if, apply, skip)

    def _create_slots(self, var_list: list[tf.Variable]) -> None:
        super()._create_slots(var_list)
        for name in self._copies():
            for variable in var_list:
                self.add_slot(variable, name, initializer=variable)

    def _copies(self) -> list[str]:
        wanted = {"average": self.rules.averaging, "slow": self.rules.lookahead}
        return [name for name, value in wanted.items() if value is not None]

    def _prepare_local(
        self, var_device: str, var_dtype: tf.DType, apply_state: dict[Any, Any]
    ) -> None:
        """Computes what the variables of a device and type share, and of these those of a rate."""
        super()._prepare_local(var_device, var_dtype, apply_state)
        state = apply_state[var_device, var_dtype]
        if self.rules.averaging is not None:
            step = tf.cast(self.iterations, var_dtype)
            decay = tf.minimum(self.rules.averaging, (1.0 + step) / (10.0 + step))
            state["average_share"] = 1.0 - decay
        if self._apply_if is not None and self.idle is not None:
            for name, value in {**self.idle, "average_share": 0.0}.items():
                if name in state:
                    state[name] = tf.where(self._apply_if, state[name], value)
        state["of_rate"] = {
            factor: _with_rate(state, factor, self.rules.weight_decay)
            for factor in {1.0, *self.rules.groups.rates.values()}
        }

    def _resource_apply_dense(
        self, grad: tf.Tensor, var: tf.Variable, apply_state: dict[Any, Any]
    ) -> Any:
        name, key = _REPLICA.sub("", var.name), (var.device, var.dtype.base_dtype)
        state = apply_state[key]["of_rate"][self.rules.groups.rates.get(name, 1.0)]
        before = []
        if self.rules.weight_decay and name in self.rules.groups.decayed:
            before.append(_subtract(var, state["decay_share"], var.read_value()))
        with tf.control_dependencies(before):
            update = super()._resource_apply_dense(grad, var, apply_state={key: state})
        if self.rules.lookahead:
            with tf.control_dependencies([update]):
                update = self._look_ahead(var, self.rules.lookahead)
        if self.rules.averaging is not None:
            with tf.control_dependencies([update]):
                average = self.get_slot(var, "average")
                update = _subtract(average, state["average_share"], average - var)
        return update

    def _look_ahead(self, var: tf.Variable, rule: Lookahead) -> tf.Tensor:
        """Goes back to the slow weights, part of the way, in the steps that are for it."""
        slow = self.get_slot(var, "slow")

        def go_back() -> tf.Tensor:
            target = slow + rule.kept_share * (var - slow)
            with tf.control_dependencies([slow.assign(target), var.assign(target)]):
                return tf.constant(True)

        due = (self.iterations + 1) % rule.period == 0
        if self._apply_if is not None:
            due &= self._apply_if
        return tf.cond(due, go_back, lambda: tf.constant(False))


def _with_rate(state: dict[str, Any], factor: float, weight_decay: float) -> dict[str, Any]:
    """Returns an algorithm's coefficients at factor * the learning rate."""
    scaled = {
        name: value * factor if name in ("lr_t", "lr") and factor != 1.0 else value
        for name, value in state.items()
    }
    return {**scaled, "decay_share": scaled["lr_t"] * weight_decay}


def _subtract(variable: tf.Variable, share: tf.Tensor, value: tf.Tensor) -> tf.Operation:
    """Takes share * value off a variable: one operation for product, difference and assignment."""
    return tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=share, delta=value)


class AdamW(GroupedOptimizer, keras.optimizers.legacy.Adam):
    """Adam with decoupled weight decay (arXiv 1711.05101), as published."""

    idle: Optional[Mapping[str, float]] = {"lr_t": 0.0, "beta_1_t": 1.0, "beta_2_t": 1.0}


class SGDW(GroupedOptimizer, keras.optimizers.legacy.SGD):
    """Gradient descent with momentum and decoupled weight decay."""


class LAMB(GroupedOptimizer, lamb.LAMB):
    """LAMB (arXiv 1904.00962), whose decay is part of the update.

    Variables that don't decay aren't adapted to their length either, as the paper's code has it.
    """

    def _do_use_weight_decay(self, param_name: str) -> bool:
        return _REPLICA.sub("", param_name) + ":0" in self.rules.groups.decayed

    def _do_layer_adaptation(self, param_name: str) -> bool:
        return self._do_use_weight_decay(param_name)


def rectified_adam() -> type[GroupedOptimizer]:
    """Returns tensorflow-addons' RectifiedAdam with our rules.

    Raises:
      UserError: tensorflow-addons isn't there, as on Python 3.12 and newer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that its development has ended
            import tensorflow_addons as tfa
    except ImportError as error:
        raise UserError(
            "training.optimizer.rectified_adam needs tensorflow-addons, which exists for Python "
            "3.9 to 3.11 only: use one of these, or adamw with warmup_steps"
        ) from error
    return type("RectifiedAdam", (GroupedOptimizer, tfa.optimizers.RectifiedAdam), {})


def without_loss_scaling(optimizer: keras.optimizers.Optimizer) -> GroupedOptimizer:
    """Returns the optimizer inside a scaling one, or itself."""
    return cast(GroupedOptimizer, getattr(optimizer, "inner_optimizer", optimizer))
