"""The contrastive loss of pixels (section 4.1, "pixel-wise instance discrimination")."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.losses.prediction import Prediction, gradient_only
from kmax_tf.losses.term import Term, mean_of_nonzero
from kmax_tf.losses.truth import Truth


@dataclasses.dataclass(frozen=True)
class InstanceDiscrimination(Term):
    """The contrastive loss over sampled pixels of the truth's grid; fields as in its message."""

    name = "instance_discrimination"
    reads = "pixel_embeddings"
    sample_count: int
    temperature: float
    sample_temperature: float

    def __call__(self, truth: Truth, prediction: Prediction) -> tf.Tensor:
        """Returns the term of each image, [B]."""
        indices = sample_pixels(
            truth.segments,
            truth.labeled,
            truth.areas,
            self.sample_count,
            self.sample_temperature,
            tf.random.uniform(tf.shape(truth.segments)),
        )
        return instance_discrimination(
            interpolate_pixels(prediction.outputs["pixel_embeddings"], truth.size, indices),
            tf.gather(truth.segments, indices, batch_dims=1),
            truth.areas.shape[1],
            self.temperature,
            truth.options.unmatched_gradient,
        )


def sample_pixels(
    segments: tf.Tensor,
    labeled: tf.Tensor,
    areas: tf.Tensor,
    count: int,
    temperature: float,
    uniform: tf.Tensor,
) -> tf.Tensor:
    """Samples pixels without replacement, those of small segments more often (Gumbel top-k).

    Args:
      segments: [B, P] int32.
      labeled: [B, P] bool; unlabeled pixels come last.
      areas: [B, M] pixels of each segment.
      count: of pixels to sample.
      temperature: exponent of the inverse area.
      uniform: [B, P] random numbers in 0..1.

    Returns:
      [B, count] int32 pixel indices.
    """
    area = tf.where(segments >= 0, tf.gather(areas, tf.maximum(segments, 0), batch_dims=1), 1.0)
    pixels = tf.cast(tf.shape(segments)[1], tf.float32)
    logits = temperature * tf.math.log(pixels / tf.maximum(area, 1.0))
    logits += tf.where(labeled, 0.0, -99999.0)
    tiny = 1e-20
    gumbel = -tf.math.log(tf.maximum(-tf.math.log(tf.maximum(uniform, tiny)), tiny))
    return tf.math.top_k(logits + gumbel, k=count, sorted=False).indices


def interpolate_pixels(grid: tf.Tensor, size: tuple[int, int], indices: tf.Tensor) -> tf.Tensor:
    """Returns what a bilinear resize with aligned corners gives at some pixels only.

    Args:
      grid: [B, h, w, D].
      size: H and W of the resized grid.
      indices: [B, S] int32 pixels of it, row after row.

    Returns:
      [B, S, D].
    """
    height, width = grid.shape[1:3]
    flat = ops.pixels_of(grid)
    if (height, width) == size:
        return ops.read_rows(flat, indices)
    (row, row_share), (column, column_share) = (
        _position(index, full, side)
        for index, full, side in (
            (indices // size[1], size[0], height),
            (indices % size[1], size[1], width),
        )
    )
    next_row, next_column = tf.minimum(row + 1, height - 1), tf.minimum(column + 1, width - 1)
    upper, lower = (
        (1.0 - column_share) * ops.read_rows(flat, r * width + column)
        + column_share * ops.read_rows(flat, r * width + next_column)
        for r in (row, next_row)
    )
    return (1.0 - row_share) * upper + row_share * lower


def _position(index: tf.Tensor, full: int, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the coarse index below a fine one, and the share [..., 1] of the next one."""
    position = tf.cast(index, tf.float32) * ((side - 1) / (full - 1))
    below = tf.floor(position)
    return tf.cast(below, tf.int32), (position - below)[..., tf.newaxis]


def instance_discrimination(
    embeddings: tf.Tensor,
    segments: tf.Tensor,
    num_segments: int,
    temperature: float,
    spread: bool,
) -> tf.Tensor:
    """Contrastive loss: a pixel's embedding should resemble those of its own segment.

    Args:
      embeddings: [B, S, D] of the sampled pixels.
      segments: [B, S] int32.
      num_segments: M.
      temperature: divides the similarities.
      spread: whether pixels without a segment, whose loss is 0, get the gradient of a target that
        is zero everywhere.

    Returns:
      [B]: mean over the pixels whose term is not zero. Each pixel's target is uniform over the
      sampled pixels of its segment, itself included, so the target's part of the cross-entropy is
      the similarity to the segment's mean embedding.
    """
    counts = ops.segment_sums(tf.ones_like(embeddings[..., :1]), segments, num_segments)
    means = ops.segment_sums(embeddings, segments, num_segments) / tf.maximum(counts, 1.0)
    own = ops.read_rows(means, tf.maximum(segments, 0))  # [B, S, D]
    attraction = tf.reduce_sum(embeddings * own, axis=-1) / temperature
    normalizer = ops.log_normalizers(embeddings, temperature)  # [B, S]
    unmatched = gradient_only(normalizer) if spread else tf.zeros_like(normalizer)
    return mean_of_nonzero(tf.where(segments >= 0, normalizer - attraction, unmatched))
