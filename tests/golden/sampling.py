"""What is kept of a recorded tensor: every k-th value, and statistics of the whole."""

from __future__ import annotations

import numpy as np

SAMPLES = 256


def sample(tensor: np.ndarray) -> np.ndarray:
    """Returns about 256 values spread over the tensor, the last axis included (odd steps)."""
    flat = np.asarray(tensor, np.float32).ravel()
    return flat[:: max(1, flat.size // SAMPLES) | 1]


def statistics(tensor: np.ndarray) -> np.ndarray:
    """Returns largest magnitude, mean, norm and sum with random signs, in float64."""
    flat = np.asarray(tensor, np.float64).ravel()
    signs = np.random.Generator(np.random.PCG64(0)).choice([-1.0, 1.0], flat.size)
    return np.array([np.abs(flat).max(), flat.mean(), np.linalg.norm(flat), flat @ signs])


def relative_error(tensor: np.ndarray, samples: np.ndarray, recorded: np.ndarray) -> float:
    """Compares a tensor with what was kept of the recorded one.

    Returns:
      The largest of: difference of a sampled value over the largest magnitude; difference of the
      mean over it too; difference of the norm, and of the signed sum, over the norm.
    """
    largest, mean, norm, signed = recorded
    found = statistics(tensor)
    errors = [
        np.abs(sample(tensor) - samples).max() / largest,
        abs(found[1] - mean) / largest,
        abs(found[2] - norm) / norm,
        abs(found[3] - signed) / norm,
    ]
    return float(max(errors))
