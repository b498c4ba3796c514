"""Panoptic copy-paste: segments of one example are laid over another.

Which segments is drawn from a [2] int32 seed alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.unique_ids import unique_ids

# What is done with the segments of a kind.
CHOICES = ("RANDOM", "ALL", "NONE")


@dataclasses.dataclass(frozen=True)
class CopyPasteOptions:
    """Which segments are pasted: of each kind all, none, or those drawn.

    Attributes:
      scale_factor: of the range of scales of the pasted image.
      things: one of CHOICES.
      stuff: one of CHOICES.
      void: one of CHOICES, for unlabeled pixels.
    """

    scale_factor: float
    things: str
    stuff: str
    void: str


def padding_id(labels: LabelSpace) -> int:
    """Returns the panoptic id of pixels beside a pasted image: never pasted, and nothing's id."""
    return labels.void_panoptic_id + 1


def chosen_ids(
    seen: tf.Tensor,
    is_padded: tf.Tensor,
    seed: tf.Tensor,
    labels: LabelSpace,
    options: CopyPasteOptions,
) -> tf.Tensor:
    """Chooses the panoptic ids that are pasted.

    Of the U ids of the crop, padding included, a number from 0 to U is drawn, each as likely; so
    many of them are drawn, each as likely.

    Args:
      seen: [H, W] int32 panoptic ids of the pasted image.
      is_padded: scalar bool, whether the crop has pixels beside it.
      seed: [2] int32.
      labels: what ids mean.
      options: what is done with ids that were drawn, and with others.

    Returns:
      [num ids] bool, one for each panoptic id.
    """
    ids, _ = unique_ids(seen)  # [U]
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    count = tf.size(ids) + tf.cast(is_padded, tf.int32)
    draws = tf.random.stateless_uniform([], seeds[0], 0, count + 1, tf.int32)
    order = tf.argsort(tf.random.stateless_uniform([count], seeds[1]))
    drawn = tf.math.invert_permutation(order)[: tf.size(ids)] < draws  # [U]

    kinds = _kinds(labels)
    semantic = tf.clip_by_value(ids // labels.label_divisor, 0, len(kinds) - 1)
    kind = tf.gather(tf.constant(kinds), semantic)
    chosen = tf.zeros_like(drawn)
    for number, choice in enumerate((options.things, options.stuff, options.void)):
        of_kind = kind == number
        if choice == "ALL":
            chosen |= of_kind
        elif choice == "RANDOM":
            chosen |= of_kind & drawn
    num_ids = len(kinds) * labels.label_divisor
    # An id of no class is for the targets of its own image to complain of.
    chosen &= (ids != padding_id(labels)) & (ids >= 0) & (ids < num_ids)
    pasted = tf.boolean_mask(ids, chosen)[:, tf.newaxis]
    table = tf.scatter_nd(pasted, tf.ones_like(pasted[:, 0]), [num_ids]) > 0
    return tf.ensure_shape(table, [num_ids])


def room_for_pasting(labels: LabelSpace) -> LabelSpace:
    """Returns the ids of the result: instances of the pasted image come after all of the other's.

    So no two instances ever get the same id. (The public implementation numbers pasted instances
    down from label_divisor - 1 instead and stops where an image has label_divisor / 2 or more.)
    """
    return dataclasses.replace(labels, label_divisor=2 * labels.label_divisor)


def paste(
    below: tuple[tf.Tensor, tf.Tensor],
    above: tuple[tf.Tensor, tf.Tensor],
    chosen: tf.Tensor,
    labels: LabelSpace,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Lays segments of one example over another.

    Args:
      below: [h, w, 3] float32 image and [h, w] int32 panoptic ids.
      above: the same of the other example; its image may be uint8.
      chosen: [num ids] bool, which ids are pasted.
      labels: what ids mean.

    Returns:
      [h, w, 3] float32 image and [h, w] int32 panoptic ids as room_for_pasting has them.
    """
    divisor = labels.label_divisor
    (image, label), (image_above, label_above) = below, above
    mask = tf.gather(chosen, tf.clip_by_value(label_above, 0, chosen.shape[0] - 1))
    image = tf.where(mask[..., tf.newaxis], tf.cast(image_above, tf.float32), image)
    # A class's ids move up by as many as the classes before it have got more; pasted instances, by
    # those of their own class too.
    class_above = label_above // divisor * divisor
    after = tf.where(label_above > class_above, divisor, 0)
    return image, tf.where(
        mask, label_above + class_above + after, label + label // divisor * divisor
    )


def _kinds(labels: LabelSpace) -> np.ndarray:
    """Returns [semantic ids] int32: 0 for things, 1 for stuff, 2 for the ignore label, -1 else."""
    index = labels.class_index_of_id
    kinds = np.where(index < 0, -1, np.where(labels.is_thing[index], 0, 1)).astype(np.int32)
    kinds[labels.ignore_label] = 2
    return kinds
