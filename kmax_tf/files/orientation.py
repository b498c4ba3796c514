"""How a camera was held: the orientation in EXIF data, read and applied in a graph."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Of a walk over a file: where its next part starts, whether there is one, and what was found.
_State = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
_TAG = 0x0112
# Whole numbers of two and of four bytes.
_SHORTS, _LONGS = (3, 8), (4, 9)
# Which orientations are a transposed image, mirrored or upside down after that.
_TRANSPOSED, _MIRRORED, _UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
# A file that has more parts than this is made to keep servers busy.
_MOST_PARTS = 1 << 16


def exif_of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF data (a TIFF) of a JPEG, scalar string; "" where it has none."""

    def step(position: tf.Tensor, exif: tf.Tensor) -> _State:
        head = bytes_at(encoded, position, 4)
        marker = head[1]
        # Bytes that are none, or fill, before a marker; markers without content.
        skip = tf.where((head[0] != 0xFF) | (marker == 0xFF), 1, 0)
        alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD8))
        length = tf.where(alone, 2, 2 + 256 * head[2] + head[3])
        # It stands before the pixels, of which nothing is read.
        ends = (skip == 0) & ((marker == 0xDA) | (marker == 0xD9))
        found = (skip == 0) & (marker == 0xE1)
        found &= substring(encoded, position + 4, 6) == b"Exif\0\0"
        content = substring(encoded, position + 10, length - 10)
        moved = position + tf.where(skip > 0, skip, length)
        going = ~ends & ~found & (moved < tf.strings.length(encoded))
        return moved, going, tf.where(found, content, exif)

    return _walk(step, 2)


def exif_of_png(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF data (a TIFF) of a PNG, scalar string; "" where it has none."""

    def step(position: tf.Tensor, exif: tf.Tensor) -> _State:
        length = _number(bytes_at(encoded, position, 4))
        kind = substring(encoded, position + 4, 4)
        found = kind == b"eXIf"
        content = substring(encoded, position + 8, length)
        moved = position + 12 + length
        going = ~found & (kind != b"IEND") & (moved > position)
        going &= moved < tf.strings.length(encoded)
        return moved, going, tf.where(found, content, exif)

    return _walk(step, 8)


def orientation_of(exif: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in EXIF data, scalar int32 1..8; 1 where they say nothing."""
    order = substring(exif, 0, 4)
    little = order == b"II*\0"
    known = little | (order == b"MM\0*")

    def number(values: tf.Tensor) -> tf.Tensor:
        """Reads numbers [...] of bytes [..., n]."""
        return tf.where(little, _number(tf.reverse(values, [-1])), _number(values))

    directory = number(bytes_at(exif, 4, 4))
    count = number(bytes_at(exif, directory, 2))
    entries = tf.io.decode_raw(substring(exif, directory + 2, 12 * count), tf.uint8)
    whole = tf.size(entries) // 12
    entries = tf.cast(tf.reshape(entries[: 12 * whole], [whole, 12]), tf.int32)
    kinds = number(entries[:, 2:4])
    of_two, of_four = (
        tf.reduce_any(kinds[:, tf.newaxis] == tf.constant(k), axis=1) for k in (_SHORTS, _LONGS)
    )
    values = tf.where(of_two, number(entries[:, 8:10]), number(entries[:, 8:12]))
    fits = (number(entries[:, :2]) == _TAG) & (number(entries[:, 4:8]) == 1) & (of_two | of_four)
    fits &= known & (values >= 1) & (values <= 8)
    return tf.reduce_max(tf.concat([[1], tf.where(fits, values, 1)], axis=0))


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image [H, W, C] of an orientation upright: [H, W, C] or [W, H, C]."""

    def is_one(of: tuple[int, ...]) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(of))

    changes = (
        (_TRANSPOSED, lambda x: tf.transpose(x, [1, 0, 2])),
        (_MIRRORED, lambda x: tf.reverse(x, [1])),
        (_UPSIDE_DOWN, lambda x: tf.reverse(x, [0])),
    )
    image = tf.ensure_shape(image, [None, None, image.shape[2]])
    for of, change in changes:
        image = tf.cond(is_one(of), lambda x=image, f=change: f(x), lambda x=image: x)
    return image


def substring(data: tf.Tensor, position: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Returns so many bytes of a string, or those that there are."""
    position = tf.clip_by_value(position, 0, tf.strings.length(data))
    return tf.strings.substr(data, position, tf.maximum(count, 0))


def bytes_at(data: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """Returns [count] int32: bytes of a string, zeros behind its end."""
    padded = tf.strings.join([substring(data, position, count), b"\0" * count])
    found = tf.io.decode_raw(padded, tf.uint8)[:count]
    return tf.cast(tf.ensure_shape(found, [count]), tf.int32)


def _number(values: tf.Tensor) -> tf.Tensor:
    """Reads numbers [...] int32 of bytes [..., n], the highest first."""
    number = values[..., 0]
    for place in range(1, values.shape[-1]):
        number = 256 * number + values[..., place]
    return number


def _walk(step: Callable[[tf.Tensor, tf.Tensor], _State], start: int) -> tf.Tensor:
    """Goes from part to part of a file, for the string that steps return last."""
    _, _, exif = tf.while_loop(
        lambda position, going, exif: going,
        lambda position, going, exif: step(position, exif),
        (tf.constant(start), tf.constant(True), tf.constant(b"")),
        maximum_iterations=_MOST_PARTS,
    )
    return exif
