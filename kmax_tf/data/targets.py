"""Ground truth of the losses, from a panoptic label."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from kmax_tf.structures import LabelSpace, Targets


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """How targets are made.

    Attributes:
      max_segments: M, the room for segments of an image.
      small_instance_area: instances of fewer pixels weigh small_instance_weight in the semantic
        loss.
      small_instance_weight: that weight.
    """

    max_segments: int = 128
    small_instance_area: int = 0
    small_instance_weight: float = 3.0


def make_targets(panoptic: tf.Tensor, labels: LabelSpace, options: TargetOptions) -> Targets:
    """Splits a panoptic label into segments.

    Things are numbered in the order of their first pixel (row by row), then come the stuff classes
    present, in the network's order. A thing class with instance 0 is a crowd: it keeps its class in
    the semantic map and belongs to no segment.

    Args:
      panoptic: [H, W] int32 panoptic ids.
      labels: what ids mean.
      options: room for segments and weights of small ones.

    Returns:
      Targets without the batch axis: [H, W], [H, W], [M] and [H, W].

    Raises:
      tf.errors.InvalidArgumentError: an id that is neither a class nor the ignore label, or more
        than max_segments segments.
    """
    ids, index_of_pixel, areas = tf.unique_with_counts(tf.reshape(panoptic, [-1]))  # [U] [HW] [U]
    semantic, instance = ids // labels.label_divisor, ids % labels.label_divisor
    class_index = _class_index(semantic, labels)
    is_class = class_index >= 0
    is_thing = is_class & tf.gather(tf.constant(labels.is_thing), tf.maximum(class_index, 0))
    is_instance = is_thing & (instance > 0)
    segment, segment_classes = _number_segments(
        class_index, is_instance, is_class & ~is_thing, labels.num_classes, options.max_segments
    )
    small = is_instance & (areas < options.small_instance_area)
    weight = tf.where(small, options.small_instance_weight, 1.0)

    def per_pixel(values: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(tf.gather(values, index_of_pixel), tf.shape(panoptic))
        return tf.ensure_shape(pixels, panoptic.shape)

    return Targets(
        semantic_map=per_pixel(semantic),
        segment_map=per_pixel(segment),
        segment_classes=segment_classes,
        semantic_weights=per_pixel(weight),
    )


def _class_index(semantic: tf.Tensor, labels: LabelSpace) -> tf.Tensor:
    """Returns [U] int32 class indices of [U] semantic ids, -1 for the ignore label."""
    table = tf.constant(labels.class_index_of_id)
    last = table.shape[0] - 1
    index = tf.where(
        (semantic >= 0) & (semantic <= last),
        tf.gather(table, tf.clip_by_value(semantic, 0, last)),
        -1,
    )
    unknown = tf.boolean_mask(semantic, (index < 0) & (semantic != labels.ignore_label))
    check = tf.debugging.Assert(
        tf.equal(tf.size(unknown), 0),
        [
            tf.strings.format(
                "a label has semantic ids that are no classes of the dataset description "
                f"'{labels.name}' (were the records made with another one?): {{}}",
                unknown,
            )
        ],
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(index)


def _number_segments(
    class_index: tf.Tensor,
    is_instance: tf.Tensor,
    is_stuff: tf.Tensor,
    num_classes: int,
    max_segments: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers the segments of [U] unique ids.

    Returns:
      [U] int32 segment of each id, -1 for none, and [M] int32 class index of each segment.
    """
    num_things = tf.math.count_nonzero(is_instance, dtype=tf.int32)
    thing_rank = tf.cumsum(tf.cast(is_instance, tf.int32), exclusive=True)
    # Ids of one stuff class are one segment, whatever their instance part.
    stuff_classes = tf.where(is_stuff, class_index, num_classes)
    present = tf.math.bincount(stuff_classes, minlength=num_classes + 1) > 0
    present = tf.cast(present[:num_classes], tf.int32)  # [K]
    stuff_rank = num_things + tf.cumsum(present, exclusive=True)  # [K]
    segment = tf.where(
        is_instance,
        thing_rank,
        tf.where(is_stuff, tf.gather(stuff_rank, tf.maximum(class_index, 0)), -1),
    )
    count = num_things + tf.reduce_sum(present)
    check = tf.debugging.Assert(
        count <= max_segments,
        [
            tf.strings.format(
                f"an image has {{}} segments but max_segments allows {max_segments}; raise it",
                count,
            )
        ],
    )
    with tf.control_dependencies([check] if check is not None else []):
        classes = tf.concat(
            [
                tf.boolean_mask(class_index, is_instance),
                tf.cast(tf.where(present > 0)[:, 0], tf.int32),
                tf.fill([max_segments - count], -1),
            ],
            axis=0,
        )
    return segment, tf.ensure_shape(classes, [max_segments])
