"""Matching of segments to centers: by trying everything, and as the published training does."""

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


def published(similarity, valid):
    """Matches as the published training does: costs are rounded to the float32 grid near 999.

    There, invalid segments are filled up with costs of +-999, which rounds the others: differences
    of less than 6e-5 don't count, and the first center of equals wins.

    Args:
      similarity: [B, M, N] float32.
      valid: [B, M].

    Returns:
      [B, M] center of each segment and [B, N] segment of each center, -1 for none, int32.
    """
    batch, segments, centers = similarity.shape
    center_of_segment = np.full([batch, segments], -1, np.int32)
    segment_of_center = np.full([batch, centers], -1, np.int32)
    for image in range(batch):
        rows = np.flatnonzero(valid[image])
        cost = np.float32(999.0) - similarity[image, rows].astype(np.float32)
        chosen, columns = linear_sum_assignment(cost)
        center_of_segment[image, rows[chosen]] = columns
        segment_of_center[image, columns] = rows[chosen]
    return center_of_segment, segment_of_center
