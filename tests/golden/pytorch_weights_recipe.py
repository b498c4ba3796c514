"""Weights and the image of the PyTorch recording: a weight depends on its key and shape there."""

from __future__ import annotations

import math
import zlib

import numpy as np

# The k-means update sums over pixels. With a variance near 1 for what follows, centers grow until
# rounding errors show.
_KMEANS_VARIANCE = "_kmeans_query_batch_norm_retrieved_value.running_var"


def weight(key: str, shape: list[int]) -> np.ndarray:
    """Returns the float32 weight of a key of the state dict, in PyTorch's layout."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    leaf = key.rsplit(".", 1)[-1]
    table = key.endswith(("_embeddings.weight", "_cluster_centers.weight"))
    if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
        values = rng.uniform(0.5, 1.5, shape)
        if key.endswith(_KMEANS_VARIANCE):
            values = values * 2500
    elif leaf in ("bias", "running_mean"):
        values = rng.normal(0.0, 0.1, shape)
    elif table or leaf == "gamma":
        values = rng.normal(0.0, 0.3, shape)
    else:
        values = rng.normal(0.0, 1.0 / math.sqrt(math.prod(shape[1:])), shape)
    return values.astype(np.float32)


def image(size: int) -> np.ndarray:
    """Returns an image [1, size, size, 3] of noise: whole numbers 0..255, in float32."""
    rng = np.random.Generator(np.random.PCG64(5))
    pixels = rng.integers(0, 256, size=(1, 3, size, size))
    return pixels.transpose(0, 2, 3, 1).astype(np.float32)
