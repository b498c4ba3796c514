"""Which masks are accepted: best first, each only if enough of it is still free."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Members(NamedTuple):
    """Which masks P items, pixels or cells, are in.

    Attributes:
      centers: [P, k] int32, image * N + center, -1 for none; none is last.
      weights: [P] int32, how many pixels an item is.
      image: [P] int32, of which image it is.
    """

    centers: tf.Tensor
    weights: tf.Tensor
    image: tf.Tensor


class Acceptance(NamedTuple):
    """What comes out.

    Attributes:
      mask_area: [B, N] int32 pixels of each mask that may be accepted, else 0.
      area: [B, N] int32 pixels that it gets; 0 where it is refused.
    """

    mask_area: tf.Tensor
    area: tf.Tensor


def accept(
    members: Members, order: tf.Tensor, confident: tf.Tensor, overlap_threshold: float
) -> Acceptance:
    """Goes through the masks from the best to the worst.

    Args:
      members: masks of all pixels.
      order: [B, N] center of each rank.
      confident: [B, N] whether a center may have a mask.
      overlap_threshold: share of a mask that must exceed this and not be taken by masks before it.
    """
    num_centers = order.shape[1]
    # Those that can't be accepted take nothing, so they needn't be gone through.
    later = tf.where(tf.gather(confident, order, batch_dims=1), 0, num_centers)
    order = tf.gather(order, tf.argsort(later + tf.range(num_centers)), batch_dims=1)
    count = tf.reduce_max(tf.math.count_nonzero(confident, axis=1, dtype=tf.int32))
    pairs = members.centers.shape[1] == 2
    return (_by_pairs if pairs else _by_pixels)(members, order, confident, count, overlap_threshold)


def _by_pairs(
    members: Members,
    order: tf.Tensor,
    confident: tf.Tensor,
    count: tf.Tensor,
    overlap_threshold: float,
) -> Acceptance:
    """Accepts where pixels are in two masks at most.

    The pixels of a mask that others have taken are then those that it shares with each of them, so
    that a table of the pixels that pairs share is all that has to be known.
    """
    num_centers = order.shape[1]
    first, second = tf.unstack(members.centers, axis=1)
    pairs = first * (num_centers + 1) + tf.where(second >= 0, second % num_centers + 1, 0)
    table = tf.math.unsorted_segment_sum(
        members.weights,
        tf.where(first >= 0, pairs, -1),
        tf.size(order) * (num_centers + 1),
    )
    table = tf.reshape(table, [-1, num_centers, num_centers + 1])
    shared = table[:, :, 1:] + tf.transpose(table[:, :, 1:], [0, 2, 1])  # [B, N, N]
    mask_area = table[:, :, 0] + tf.reduce_sum(shared, axis=2)  # [B, N]

    def step(rank: tf.Tensor, areas: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        center = order[:, rank]  # [B]
        with_each = tf.gather(shared, center, batch_dims=1)  # [B, N]
        taken = tf.reduce_sum(tf.where(areas > 0, with_each, 0), axis=1)  # [B]
        area = tf.gather(mask_area, center, batch_dims=1)
        may = tf.gather(confident, center, batch_dims=1)
        gets = _enough(area - taken, area, may, overlap_threshold)
        return rank + 1, tf.where(_one_hot(center, num_centers), gets[:, tf.newaxis], areas)

    areas = tf.while_loop(
        lambda rank, _: rank < count, step, [tf.constant(0), tf.zeros_like(mask_area)]
    )[1]
    return Acceptance(tf.where(confident, mask_area, 0), areas)


def _by_pixels(
    members: Members,
    order: tf.Tensor,
    confident: tf.Tensor,
    count: tf.Tensor,
    overlap_threshold: float,
) -> Acceptance:
    """Accepts where pixels are in any number of masks, by painting them."""
    batch, num_centers = order.shape  # known shapes must stay so in the loop
    batch = tf.shape(order)[0] if batch is None else batch
    first = tf.range(batch) * num_centers  # [B]

    def pixels_of(mask: tf.Tensor) -> tf.Tensor:
        weights = tf.where(mask, members.weights, 0)
        return tf.math.unsorted_segment_sum(weights, members.image, batch)  # [B]

    def step(
        rank: tf.Tensor, mask_area: tf.Tensor, areas: tf.Tensor, taken: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        center = order[:, rank]  # [B]
        of_item = tf.gather(first + center, members.image)
        mask = tf.reduce_any(members.centers == of_item[:, tf.newaxis], axis=1)  # [P]
        area = pixels_of(mask)
        may = tf.gather(confident, center, batch_dims=1)
        gets = _enough(pixels_of(mask & ~taken), area, may, overlap_threshold)
        taken |= mask & tf.gather(gets > 0, members.image)
        chosen = _one_hot(center, num_centers)
        return (
            rank + 1,
            tf.where(chosen, area[:, tf.newaxis], mask_area),
            tf.where(chosen, gets[:, tf.newaxis], areas),
            taken,
        )

    none = tf.zeros_like(order)
    _, mask_area, areas, _ = tf.while_loop(
        lambda rank, *_: rank < count,
        step,
        [tf.constant(0), none, none, tf.zeros_like(members.weights, tf.bool)],
    )
    return Acceptance(tf.where(confident, mask_area, 0), areas)


def _enough(
    free: tf.Tensor, area: tf.Tensor, may: tf.Tensor, overlap_threshold: float
) -> tf.Tensor:
    """Returns [B]: the free pixels of masks that are accepted, else 0."""
    enough = tf.cast(free, tf.float32) > overlap_threshold * tf.cast(area, tf.float32)
    return tf.where(enough & may, free, 0)


def _one_hot(center: tf.Tensor, num_centers: int) -> tf.Tensor:
    return tf.range(num_centers) == center[:, tf.newaxis]  # [B, N]
