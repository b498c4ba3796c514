"""Matching of ground-truth segments to cluster centers (MaX-DeepLab, arXiv 2012.00759, 3.2).

Two implementations of the same optimum: `match_on_host` calls SciPy, which a CPU, or the host of a
GPU, runs fastest; `match_in_graph` is made of TensorFlow operations of static shapes, for XLA and
TPU.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from kmax_tf.losses.assignment import assign_rows


class Matching(NamedTuple):
    """Which center answers for which segment; no gradient passes.

    Attributes:
      center_of_segment: [B, M] int32; -1 for padding and for segments beyond the centers.
      segment_of_center: [B, N] int32; -1 for centers without a segment.
    """

    center_of_segment: tf.Tensor
    segment_of_center: tf.Tensor


# (similarity [B, M, N], valid [B, M]) -> the matching with the largest sum of similarities. Every
# valid segment gets a center, or every center a segment where there are more segments. Similarities
# that are not numbers count as 0, so that a broken step ends and can be reported.
Matcher = Callable[[tf.Tensor, tf.Tensor], Matching]


def match_on_host(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
    """Matches with SciPy; see `Matcher`."""
    center_of_segment, segment_of_center = tf.numpy_function(
        _match_batch, [_finite(similarity), valid], [tf.int32, tf.int32], stateful=False
    )
    return Matching(
        tf.ensure_shape(center_of_segment, similarity.shape[:2]),
        tf.ensure_shape(segment_of_center, [similarity.shape[0], similarity.shape[2]]),
    )


def _match_batch(similarity: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, segments, centers = similarity.shape
    center_of_segment = np.full([batch, segments], -1, np.int32)
    segment_of_center = np.full([batch, centers], -1, np.int32)
    for image in range(batch):
        rows = np.flatnonzero(valid[image])
        chosen, columns = linear_sum_assignment(similarity[image, rows], maximize=True)
        center_of_segment[image, rows[chosen]] = columns
        segment_of_center[image, columns] = rows[chosen]
    return center_of_segment, segment_of_center


def match_in_graph(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
    """Matches with TensorFlow operations; see `Matcher`."""
    similarity = _finite(similarity)
    segments, centers = similarity.shape[1:]
    # More segments than centers: the rest goes to columns that are worse than any center.
    spare = max(0, segments - centers)
    cost = tf.pad(-similarity, [[0, 0], [0, 0], [0, spare]], constant_values=4.0)
    segment_of_column = assign_rows(cost, valid)  # [B, N + spare]
    segment_of_center = segment_of_column[:, :centers]
    columns = tf.one_hot(segment_of_center, segments, on_value=True, off_value=False)  # [B, N, M]
    return Matching(
        tf.where(
            tf.reduce_any(columns, axis=1), tf.argmax(columns, axis=1, output_type=tf.int32), -1
        ),
        segment_of_center,
    )


def rounded(match: Matcher, resolution: float) -> Matcher:
    """Returns a matcher that sees similarities rounded to multiples of `resolution`."""

    def match_rounded(similarity: tf.Tensor, valid: tf.Tensor) -> Matching:
        return match(tf.round(similarity / resolution) * resolution, valid)

    return match_rounded


def _finite(similarity: tf.Tensor) -> tf.Tensor:
    similarity = tf.stop_gradient(similarity)
    return tf.where(tf.math.is_finite(similarity), similarity, 0.0)
