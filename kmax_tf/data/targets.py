"""Ground truth of the losses, from a panoptic label."""

from __future__ import annotations

import dataclasses
from typing import Optional

import tensorflow as tf

from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.unique_ids import unique_ids
from kmax_tf.structures import Targets


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """How targets are made.

    Attributes:
      max_segments: M, the room for segments of an image.
      on_crowded: where an image has more segments: DROP_SMALLEST, as if they were crowds, or ERROR.
      small_instance_area: instances of fewer pixels weigh small_instance_weight in the semantic
        loss.
      small_instance_weight: that weight.
      compile: by XLA. Pays for maps of fixed size, of which many are made.
    """

    max_segments: int
    on_crowded: str
    small_instance_area: int
    small_instance_weight: float
    compile: bool


def make_targets(panoptic: tf.Tensor, labels: LabelSpace, options: TargetOptions) -> Targets:
    """Splits a panoptic label [H, W] int32 into segments.

    Things are numbered in the order of their first pixel (row by row), then come the stuff classes
    present, in the network's order. A thing class with instance 0 is a crowd: it keeps its class in
    the semantic map and belongs to no segment.

    Returns:
      Targets without the batch axis: [H, W], [H, W], [M] and [H, W].

    Raises:
      tf.errors.InvalidArgumentError: an id that is neither a class nor the ignore label, or more
        than max_segments segments.
    """
    ids, areas = unique_ids(panoptic)  # [U] [U]
    class_index = _class_index(ids // labels.label_divisor, labels)
    is_class = class_index >= 0
    is_thing = is_class & tf.gather(tf.constant(labels.is_thing), tf.maximum(class_index, 0))
    is_instance = is_thing & (ids % labels.label_divisor > 0)
    segment, segment_classes = _number_segments(
        class_index, is_instance, is_class & ~is_thing, areas, labels.num_classes, options
    )
    small = is_instance & (areas < options.small_instance_area)
    weight = tf.where(small, options.small_instance_weight, 1.0)
    num_ids = len(labels.class_index_of_id) * labels.label_divisor

    tables = [tf.tensor_scatter_nd_update(tf.fill([num_ids], -1), ids[:, tf.newaxis], segment)]
    if options.small_instance_area:
        weights = tf.ones([num_ids])
        tables.append(tf.tensor_scatter_nd_update(weights, ids[:, tf.newaxis], weight))
    paint = _compiled_paint if options.compile else _paint
    semantic_map, segment_map, semantic_weights = paint(panoptic, labels.label_divisor, *tables)
    return Targets(
        semantic_map=semantic_map,
        segment_map=segment_map,
        segment_classes=segment_classes,
        semantic_weights=semantic_weights,
    )


def _paint(
    panoptic: tf.Tensor,
    label_divisor: int,
    segment_of_id: tf.Tensor,
    weight_of_id: Optional[tf.Tensor] = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Makes semantic map, segment map and weights of a label, from tables of its ids."""
    ids = panoptic[..., tf.newaxis]
    if weight_of_id is None:
        weights = tf.ones_like(panoptic, tf.float32)
    else:
        weights = tf.gather_nd(weight_of_id, ids)
    # On CPUs gather_nd is faster than gather.
    return panoptic // label_divisor, tf.gather_nd(segment_of_id, ids), weights


_compiled_paint = tf.function(_paint, jit_compile=True)


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
    message = tf.strings.format(
        "a label has semantic ids that are no classes of the dataset description "
        f"'{labels.name}' (were the records made with another one?): {{}}",
        unknown,
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.size(unknown) == 0, [message])]):
        return tf.identity(index)


def _number_segments(
    class_index: tf.Tensor,
    is_instance: tf.Tensor,
    is_stuff: tf.Tensor,
    areas: tf.Tensor,
    num_classes: int,
    options: TargetOptions,
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
    classes = tf.concat(
        [
            tf.boolean_mask(class_index, is_instance),
            tf.cast(tf.where(present > 0)[:, 0], tf.int32),
        ],
        axis=0,
    )  # [S]
    segment, classes = _fit(segment, classes, areas, options)
    room = [[0, options.max_segments - tf.size(classes)]]
    classes = tf.pad(classes, room, constant_values=-1)
    return segment, tf.ensure_shape(classes, [options.max_segments])


def _fit(
    segment: tf.Tensor, classes: tf.Tensor, areas: tf.Tensor, options: TargetOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keeps max_segments of S segments at most.

    Args:
      segment: [U] int32 segment of each id, -1 for none.
      classes: [S] int32.
      areas: [U] int32 pixels of each id.
      options: how many, and what to do if there are more.

    Returns:
      [U] and [S'] int32, numbered anew.
    """
    count, most = tf.size(classes), options.max_segments
    message = tf.strings.format(f"an image has {{}} segments but max_segments allows {most}", count)
    if options.on_crowded == "DROP_SMALLEST":
        line = tf.strings.join([message, ": the smallest become crowds"])
        tf.cond(count > most, lambda: tf.print(line), tf.no_op)
        area = tf.math.unsorted_segment_sum(areas, segment, count)  # [S]
        largest = tf.argsort(area, direction="DESCENDING", stable=True)[:most]
        kept = tf.scatter_nd(largest[:, tf.newaxis], tf.ones_like(largest), [count])  # [S]
        numbers = tf.where(kept > 0, tf.cumsum(kept, exclusive=True), -1)
        numbers = tf.concat([numbers, [-1]], axis=0)  # for ids without a segment
        segment = tf.gather(numbers, tf.where(segment < 0, count, segment))
        return segment, tf.boolean_mask(classes, kept > 0)
    advice = "; raise it, or set on_crowded to DROP_SMALLEST"
    check = tf.debugging.Assert(count <= most, [tf.strings.join([message, advice])])
    with tf.control_dependencies([check]):
        return tf.identity(segment), tf.identity(classes)
