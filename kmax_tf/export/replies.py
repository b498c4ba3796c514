"""Small replies, made in a graph: PNGs of ids, tables of segments, run-length masks.

A map is read by its runs of equal pixels, of which it has a hundredth as many as pixels. Everything
here is of one image; tables are padded to the number of cluster centers, so that images batch.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kmax_tf.labels import LabelSpace

# COCO's compressed run lengths have 5 bits a character, which begin at "0".
_BITS, _FIRST = 5, 48
_CHARACTERS = 7  # hold any int32
_MOST_BYTES = {1: 1 << 8, 2: 1 << 16, 3: 1 << 24}  # ids that so many bytes hold


class Segments(NamedTuple):
    """The segments of a map, best first, padded to N.

    Attributes:
      ids: [N] int32 panoptic ids; those behind the last segment are the void one.
      class_ids: [N] int32 the dataset's class ids; the ignore label there.
      scores: [N] float32 what their centers were ranked by; of a stuff class, the best center's.
      areas: [N] int32 pixels.
      boxes: [N, 4] int32 x, y, width, height in pixels.
      count: [] int32 number of segments.
    """

    ids: tf.Tensor
    class_ids: tf.Tensor
    scores: tf.Tensor
    areas: tf.Tensor
    boxes: tf.Tensor
    count: tf.Tensor


# The signature of a table, for tf.map_fn.
SEGMENTS = {
    **dict.fromkeys(("ids", "class_ids", "areas"), tf.TensorSpec([None], tf.int32)),
    "scores": tf.TensorSpec([None], tf.float32),
    "boxes": tf.TensorSpec([None, 4], tf.int32),
    "count": tf.TensorSpec([], tf.int32),
}


class _Runs(NamedTuple):
    """Runs [R] of a list of P pixels: their values, and where each begins and ends."""

    values: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor


def encode_ids(ids: tf.Tensor, largest: int) -> tf.Tensor:
    """Encodes ids as a PNG, without loss.

    Args:
      ids: [H, W] int32, not negative.
      largest: no id exceeds it. It chooses the kind: up to 255 a grey PNG of 8 bits, up to 65535 of
        16 bits, up to 2^24 - 1 an RGB one with id = R + 256 G + 65536 B, as in COCO's files; above,
        RGBA, with alpha the highest byte.

    Returns:
      [] string.
    """
    number = next((bytes_ for bytes_, bound in _MOST_BYTES.items() if largest < bound), 4)
    if number <= 2:
        grey = tf.cast(ids, tf.uint8 if number == 1 else tf.uint16)[..., tf.newaxis]
        return tf.io.encode_png(grey)
    channels = [tf.bitwise.right_shift(ids, 8 * place) & 255 for place in range(number)]
    return tf.io.encode_png(tf.cast(tf.stack(channels, axis=-1), tf.uint8))


def describe_segments(
    panoptic: tf.Tensor,
    segment_ids: tf.Tensor,
    segment_scores: tf.Tensor,
    labels: LabelSpace,
    things_only: bool = False,
) -> Segments:
    """Describes the segments of a map.

    Args:
      panoptic: [H, W] int32.
      segment_ids: [N] int32, of each center.
      segment_scores: [N] float32, of each center.
      labels: what the ids mean.
      things_only: leaves stuff out.
    """
    width, most = tf.shape(panoptic)[1], tf.size(segment_ids)
    runs = _rows(panoptic)
    ids, _ = tf.unique(runs.values)
    is_named = ids != labels.void_panoptic_id
    if things_only:
        classes = (ids // labels.label_divisor)[:, tf.newaxis]
        is_named &= tf.reduce_any(classes == labels.ids[labels.is_thing], axis=1)
    ids = tf.sort(tf.boolean_mask(ids, is_named))
    count = tf.size(ids)
    scores = tf.math.unsorted_segment_max(segment_scores, _place(ids, segment_ids), count)
    best_first = tf.argsort(scores, direction="DESCENDING", stable=True)
    place = _place(ids, runs.values)
    areas = tf.math.unsorted_segment_sum(runs.ends - runs.starts, place, count)
    row, first, last = runs.starts // width, runs.starts % width, (runs.ends - 1) % width
    left, top = (tf.math.unsorted_segment_min(side, place, count) for side in (first, row))
    right, bottom = (tf.math.unsorted_segment_max(side, place, count) for side in (last, row))
    boxes = tf.stack([left, top, right - left + 1, bottom - top + 1], axis=1)

    def arrange(values: tf.Tensor, padding: int = 0) -> tf.Tensor:
        rest = [[0, most - count]] + [[0, 0]] * (values.shape.rank - 1)
        return tf.pad(tf.gather(values, best_first), rest, constant_values=padding)

    return Segments(
        ids=arrange(ids, labels.void_panoptic_id),
        class_ids=arrange(ids // labels.label_divisor, labels.ignore_label),
        scores=arrange(scores),
        areas=arrange(areas),
        boxes=arrange(boxes),
        count=count,
    )


def run_length_masks(panoptic: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Encodes the masks of segments as COCO's compressed run lengths ("counts").

    Args:
      panoptic: [H, W] int32.
      ids: [K] int32 of segments, each once, in any order; one that the map hasn't is an empty mask.

    Returns:
      [K] string; their "size" is [H, W].
    """
    runs = _runs(tf.reshape(tf.transpose(panoptic), [-1]))  # columns, one after another
    pixels, number = tf.size(panoptic), tf.size(ids)
    order = tf.argsort(ids)
    place = _place(tf.gather(ids, order), runs.values)
    segment = tf.gather(tf.concat([order, [-1]], axis=0), tf.where(place < 0, number, place))
    # A run of no pixels behind the last pixel ends each mask.
    segment = tf.concat([segment, tf.range(number)], axis=0)
    nothing = tf.fill([number], pixels)
    by_segment = tf.argsort(segment, stable=True)
    by_segment = tf.boolean_mask(by_segment, tf.gather(segment, by_segment) >= 0)
    segment = tf.gather(segment, by_segment)
    start = tf.gather(tf.concat([runs.starts, nothing], axis=0), by_segment)
    end = tf.gather(tf.concat([runs.ends, nothing], axis=0), by_segment)
    before = tf.concat([[0], end[:-1]], axis=0)  # a mask's first run begins after pixel 0
    before = tf.where(_is_first(segment), 0, before)
    counts = tf.reshape(tf.stack([start - before, end - start], axis=1), [-1])
    counted = tf.repeat(segment, 2)
    # Of the runs of no pixels, only pixels before them count.
    is_last = tf.repeat(start == pixels, 2)
    is_pixels = tf.tile([False, True], [tf.size(segment)])
    kept = ~(is_last & (is_pixels | (counts == 0)))
    return _as_texts(tf.boolean_mask(counts, kept), tf.boolean_mask(counted, kept), number)


def _as_texts(counts: tf.Tensor, segment: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Writes counts [C] of segments [C], in order, as a text for each of the `number` segments."""
    first = tf.math.unsorted_segment_min(tf.range(tf.size(counts)), segment, number)
    place = tf.range(tf.size(counts)) - tf.gather(first, segment)
    # From the fourth on, a count is its difference to the last but one.
    earlier = tf.concat([[0, 0], counts[:-2]], axis=0)[: tf.size(counts)]
    rest = tf.where(place > 2, counts - earlier, counts)
    characters, there, more = [], [], tf.ones_like(rest, tf.bool)
    for _ in range(_CHARACTERS):
        bits = rest & 31
        rest = tf.bitwise.right_shift(rest, _BITS)  # keeps the sign
        there.append(more)
        more = rest != tf.where(bits & 16 > 0, -1, 0)
        characters.append(_FIRST + bits + tf.where(more, 32, 0))
        more &= there[-1]
    is_there = tf.stack(there, axis=1)
    lengths = tf.math.unsorted_segment_sum(
        tf.reduce_sum(tf.cast(is_there, tf.int32), axis=1), segment, number
    )
    letters = tf.boolean_mask(tf.stack(characters, axis=1), is_there)
    ragged = tf.RaggedTensor.from_row_lengths(letters, lengths, validate=False)
    return tf.strings.unicode_encode(ragged, "UTF-8")


def _is_first(segment: tf.Tensor) -> tf.Tensor:
    """Returns [R]: whether the one before is of another segment, or there is none."""
    return tf.concat([[True], segment[1:] != segment[:-1]], axis=0)[: tf.size(segment)]


def _rows(values: tf.Tensor) -> _Runs:
    """Returns the runs of a map [H, W], which end with each row."""
    begins = tf.concat(
        [tf.ones_like(values[:, :1], tf.bool), values[:, 1:] != values[:, :-1]], axis=1
    )
    return _from(tf.reshape(values, [-1]), tf.reshape(begins, [-1]))


def _runs(values: tf.Tensor) -> _Runs:
    """Returns the runs of a list [P]."""
    return _from(values, _is_first(values))


def _from(values: tf.Tensor, begins: tf.Tensor) -> _Runs:
    starts = tf.cast(tf.where(begins)[:, 0], tf.int32)
    ends = tf.concat([starts[1:], [tf.size(values)]], axis=0)
    return _Runs(tf.gather(values, starts), starts, ends)


def _place(ids: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns [R] int32: where each value is among increasing ids [K]; -1 where it isn't."""
    place = tf.searchsorted(ids, values)
    found = tf.gather(tf.concat([ids, [-1]], axis=0), place)
    return tf.where((found == values) & (place < tf.size(ids)), place, -1)
