"""Matching of segments to centers, by trying everything and by SciPy."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment


def best_total(similarity):
    """Returns the largest sum of similarities [M, N] over all one-to-one matchings (tiny ones)."""
    rows, columns = similarity.shape
    if rows > columns:
        return best_total(similarity.T)
    return max(
        sum(similarity[row, column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )


def optimum(similarity):
    """Returns [M] the center of each segment, -1 for none, by SciPy."""
    center = np.full(similarity.shape[0], -1)
    rows, columns = linear_sum_assignment(-similarity.astype(np.float64))
    center[rows] = columns
    return center
