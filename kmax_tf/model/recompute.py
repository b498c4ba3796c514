"""Computing a block again in the backward pass, instead of keeping what is inside it.

The second computation must be the first one again: moving statistics are updated once only, and
what is dropped is dropped again. The layers inside read which computation it is from a thread's
state, as replicas are traced in threads that take turns.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras


class _State(threading.local):
    """What the layers inside a block read.

    Attributes:
      again: whether this is the second computation.
      seed: [2] int32, for all that is random in the block; None outside of one.
      drawn: seeds taken from it so far.
    """

    again = False
    seed: Optional[tf.Tensor] = None
    drawn = 0


_state = _State()


def computing_again() -> bool:
    """Tells whether this is the second computation of a block."""
    return _state.again


def random_uniform(shape: list[int | tf.Tensor]) -> tf.Tensor:
    """Returns random numbers in [0, 1): inside a block the same ones in both computations."""
    if _state.seed is None:
        return tf.random.uniform(shape)
    _state.drawn += 1
    seed = tf.stack([_state.seed[0], _state.seed[1] + _state.drawn])
    return tf.random.stateless_uniform(shape, seed)


@contextlib.contextmanager
def _inside(seed: tf.Tensor, again: bool) -> Iterator[None]:
    before = _state.seed, _state.again, _state.drawn
    _state.seed, _state.again, _state.drawn = seed, again, 0
    try:
        yield
    finally:
        _state.seed, _state.again, _state.drawn = before


def call_block(
    block: keras.layers.Layer, x: tf.Tensor, training: Optional[bool], recompute: bool
) -> tf.Tensor:
    """Calls a block.

    Args:
      block: x -> a tensor, with `training`. What it draws at random it draws by `random_uniform`,
        and its normalizations are `batch_norm.BatchNorm`.
      x: its input.
      training: whether this is training.
      recompute: whether the gradient computes it a second time, in training.
    """
    if not (training and recompute):
        return block(x, training=training)
    seed = tf.random.uniform([2], maxval=2**30, dtype=tf.int32)
    calls = itertools.count()
    wanted = ops.gradients_wanted()

    def compute(x: tf.Tensor) -> tf.Tensor:
        # The second is traced outside of the model's call, but takes the same forms.
        with _inside(seed, again=next(calls) > 0), ops.for_gradients(wanted):
            return block(x, training=True)

    return tf.recompute_grad(compute)(x)
