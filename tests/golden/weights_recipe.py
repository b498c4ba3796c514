"""Weights and images that depend on nothing but names, shapes and seeds.

The public implementation was run with these weights, so that its outputs can be compared without a
weight file. A weight depends on its key in the public checkpoints and on its shape there.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

# Leaves of a key that are drawn alike whatever they belong to: (kind, parameters).
_LEAVES = {
    "moving_mean": ("normal", 0.1),
    "moving_variance": ("uniform", 0.5, 1.5),
    "beta": ("normal", 0.1),
    "bias": ("normal", 0.1),
    "layer_scale": ("uniform", 0.5, 1.5),
    "cluster_centers": ("normal", 1.0),
    "embeddings": ("normal", 0.3),
}
# Scales of normalizations, by what the path holds, chosen so that the assignment of pixels to
# centers has margins far above rounding errors.
_SCALES = [
    ("mask_batch_norm", (6.0, 10.0)),
    ("batch_norm_similarity", (0.1, 0.3)),
    ("kmeans_memory_batch_norm", (0.02, 0.1)),
    ("", (0.5, 1.5)),
]


def weight(key: str, shape: list[int]) -> np.ndarray:
    """Returns the float32 weight of a checkpoint key."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    path = key.split("/.ATTRIBUTES", maxsplit=1)[0]
    leaf = path.rsplit("/", 1)[-1]
    if leaf in ("kernel", "qkv_kernel"):
        return _kernel(rng, shape, gain=8.0 if "transformer_class_head" in path else 1.0)
    if leaf == "gamma":
        kind = ("uniform", *next(bounds for part, bounds in _SCALES if part in path))
    elif leaf == "depthwise_kernel":
        kind = ("normal", 1.0 / math.sqrt(shape[0] * shape[1]))
    else:
        kind = _LEAVES[leaf]
    if kind[0] == "uniform":
        return rng.uniform(kind[1], kind[2], shape).astype(np.float32)
    return (rng.standard_normal(shape) * kind[1]).astype(np.float32)


def _kernel(rng: np.random.Generator, shape: list[int], gain: float) -> np.ndarray:
    """Draws a kernel whose mean over the inputs of each output is zero."""
    fan_in = math.prod(shape[:-1])
    values = rng.standard_normal(shape) * (gain / math.sqrt(fan_in))
    if fan_in > 1:
        values = values - values.mean(axis=tuple(range(len(shape) - 1)), keepdims=True)
    return values.astype(np.float32)


def image(height: int, width: int, batch: int) -> np.ndarray:
    """Returns images [batch, height, width, 3] of noise: whole numbers 0..255, in float32."""
    rng = np.random.Generator(np.random.PCG64(0))
    return rng.integers(0, 256, size=(batch, height, width, 3)).astype(np.float32)
