"""Layers with random weights, read as the oracles read them, and compared with these."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras


def randomize(layer: keras.layers.Layer, seed: int = 0) -> None:
    """Gives every variable random values, normalizations included."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if "gamma" in variable.name or "moving_variance" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        else:
            # Kernels keep the size of what they are applied to, through any number of layers.
            leaf = variable.name.rsplit("/", 1)[-1]
            inputs = math.prod(variable.shape[: 2 if leaf == "depthwise_kernel:0" else -1])
            scale = inputs**-0.5 if "kernel" in leaf else 0.5
            variable.assign(rng.normal(size=variable.shape, scale=scale))


def randomized(layer: keras.layers.Layer, *inputs: Any) -> keras.layers.Layer:
    """Builds a layer by calling it, gives it random values and returns it."""
    layer(*inputs)
    randomize(layer)
    return layer


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Makes the layers inside with a precision policy."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def close(found: Any, expected: Any, tolerance: float = 1e-4, name: str = "") -> None:
    """Compares with an oracle, which computes in float64."""
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance / 10, err_msg=name)


def norm_of(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, ...]:
    """Returns scale, offset, mean and variance in float64, without axes of length 1."""
    parts = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return tuple(np.atleast_1d(np.squeeze(part.numpy().astype(np.float64))) for part in parts)


def array(variable: tf.Variable) -> np.ndarray:
    """Returns the value in float64."""
    return variable.numpy().astype(np.float64)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Returns normal random numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
