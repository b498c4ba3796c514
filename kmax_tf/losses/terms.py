"""The loss terms as pure functions, each [B], all in float32.

Shapes: P pixels of the mask logits, N cluster centers, M segments (padded), K classes without void.
A pixel's segment is an index into M or -1 (unlabeled or crowd).
"""

from __future__ import annotations

import tensorflow as tf

from kmax_tf import ops

WEIGHT_FLOOR = 1e-5


def mean_of_nonzero(values: tf.Tensor) -> tf.Tensor:
    """Returns [B]: the mean over the entries of [B, P] that are not zero; 0 where all are."""
    count = tf.reduce_sum(tf.cast(values != 0.0, tf.float32), axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(values, axis=1), count)


def mask_dice(
    mask_sizes: tf.Tensor,
    pixel_cross_entropy: tf.Tensor,
    segments: tf.Tensor,
    center_of_segment: tf.Tensor,
    segment_weights: tf.Tensor,
) -> tf.Tensor:
    """Dice loss between each segment and its center's mask, weighted by class similarity.

    Args:
      mask_sizes: [B, N] sums of the probabilities of pixels with a segment.
      pixel_cross_entropy: [B, P]; -log of the probability of the pixel's center.
      segments: [B, P] int32.
      center_of_segment: [B, M] int32; -1 where there is none.
      segment_weights: [B, M] class probability of the match, without gradient.

    Returns:
      [B]: sum over segments, divided by N.
    """
    num_segments = center_of_segment.shape[1]
    labeled = tf.cast(segments >= 0, tf.float32)
    predicted = ops.read_rows(mask_sizes, tf.maximum(center_of_segment, 0))  # [B, M]
    intersection = ops.segment_sums(tf.exp(-pixel_cross_entropy) * labeled, segments, num_segments)
    areas = ops.segment_sums(labeled, segments, num_segments)
    dice = 1.0 - (2.0 * intersection + 1.0) / (predicted + areas + 1.0)  # [B, M]
    matched = tf.cast(center_of_segment >= 0, tf.float32)
    weights = matched * tf.maximum(segment_weights, WEIGHT_FLOOR)
    return tf.reduce_sum(weights * dice, axis=1) / mask_sizes.shape[1]


def class_cross_entropy(
    class_logits: tf.Tensor,
    target_classes: tf.Tensor,
    center_weights: tf.Tensor,
    matched_share: float,
) -> tf.Tensor:
    """Cross-entropy of each center's class: that of its segment, or void.

    Args:
      class_logits: [B, N, K+1].
      target_classes: [B, N] int32; K is void.
      center_weights: [B, N] without gradient: mask similarity of matched centers; for the others
        the share of their mask that lies on unlabeled pixels.
      matched_share: weight of the matched centers; the others get 1 - matched_share.

    Returns:
      [B]: mean over the centers whose term is not zero.
    """
    void = class_logits.shape[2] - 1
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target_classes, class_logits)
    share = tf.where(target_classes == void, 1.0 - matched_share, matched_share)
    return mean_of_nonzero(entropy * share * tf.maximum(center_weights, WEIGHT_FLOOR))


def gradient_only(values: tf.Tensor) -> tf.Tensor:
    """Returns zeros that carry the gradient of `values`."""
    return values - tf.stop_gradient(values)


def pixel_entropy_and_mask_sizes(
    mask_logits: tf.Tensor,
    segments: tf.Tensor,
    center_of_segment: tf.Tensor,
    spread: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of each pixel over the centers, and the sizes of the centers' masks.

    A pixel's target is the center of its segment.

    Args:
      mask_logits: [B, P, N].
      segments: [B, P] int32.
      center_of_segment: [B, M] int32.
      spread: [B, P] bool: pixels without a segment whose loss is 0 but whose gradient is that of
        a target that is zero everywhere, which lowers the winning logits (`LossOptions`).

    Returns:
      [B, P]; 0 for pixels without a segment or whose segment has no center. And [B, N], the sums of
      the probabilities of pixels with a segment.
    """
    centers = tf.gather(center_of_segment, tf.maximum(segments, 0), batch_dims=1)  # [B, P]
    targets = tf.where(segments >= 0, centers, -1)
    entropy, mask_sizes = ops.softmax_entropy_and_sums(
        mask_logits, targets, tf.cast(segments >= 0, tf.float32)
    )
    without = tf.where(spread, gradient_only(entropy), 0.0)
    return tf.where(targets >= 0, entropy, without), mask_sizes


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
    batch, height, width, channels = grid.shape
    flat = tf.reshape(grid, [batch or -1, height * width, channels])
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


def semantic_cross_entropy(
    semantic_logits: tf.Tensor, semantic_ids: tf.Tensor, weights: tf.Tensor, top_fraction: float
) -> tf.Tensor:
    """Cross-entropy of the auxiliary semantic branch.

    Args:
      semantic_logits: [B, P', num_ids].
      semantic_ids: [B, P'] int32.
      weights: [B, P']; 0 for unlabeled pixels.
      top_fraction: share of the pixels, those with the largest losses, that is kept.

    Returns:
      [B]: mean over the kept pixels whose term is not zero.
    """
    ids = tf.where(weights > 0.0, semantic_ids, 0)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, semantic_logits) * weights
    if top_fraction < 1.0:
        pixels = tf.cast(tf.shape(entropy)[1], tf.float32)
        kept = tf.cast(tf.round(top_fraction * pixels), tf.int32)
        entropy = tf.math.top_k(entropy, k=tf.maximum(kept, 1), sorted=False).values
    return mean_of_nonzero(entropy)
