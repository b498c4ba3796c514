"""Decoding of image files in a graph, to the very pixels that `images.read_image` gives.

Records hold JPEGs and PNGs that are upright. Servers get what cameras write: there EXIF data are
applied, and what TensorFlow would decode otherwise than Pillow does is a problem that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmax_tf.files.orientation import (
    bytes_at,
    exif_of_jpeg,
    exif_of_png,
    orientation_of,
    substring,
    turn_upright,
)

_SEND = "send an RGB or grey JPEG, PNG, BMP or GIF"
# What files of other kinds have at their 4th or first byte, and how people call them.
_BRANDS = {
    **dict.fromkeys((b"ftypheic", b"ftypheix", b"ftypheim", b"ftyphevc", b"ftypmif1"), "HEIC"),
    **dict.fromkeys((b"ftypavif", b"ftypavis"), "AVIF"),
}
_STARTS = {
    **dict.fromkeys((b"II*\0", b"MM\0*"), "TIFF"),
    **{b"RIFF": "WebP", b"%PDF": "PDF", b"<svg": "SVG", b"\0\0\0\x0c": "JPEG 2000"},
}
# Masks of red, green and blue in a BMP of 32 bits that says where its channels are.
_BMP_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"


def decode_record_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes the JPEG or PNG of a record, as Pillow does: [H, W, 3] uint8.

    Raises:
      tf.errors.InvalidArgumentError: it is neither, or damaged.
    """
    # TensorFlow's default is a faster transform, by which a pixel may be off by more than ten. The
    # operation reads PNGs as well.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, [None, None, 3])


# One function, traced once for all that call it.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode_upright(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image file and applies its EXIF rotation; what fails is told, and no error.

    Args:
      encoded: scalar string, a JPEG, PNG, BMP or GIF (of which the first frame counts).

    Returns:
      A problem, scalar string, "" for none, and [H, W, 3] uint8, a black pixel where there is one.
    """
    start = substring(encoded, 0, 4)
    nothing = tf.zeros([0, 0, 3], tf.uint8)
    is_jpeg = substring(encoded, 0, 2) == b"\xff\xd8"
    is_png = start == b"\x89PNG"
    is_bmp = substring(encoded, 0, 2) == b"BM"
    is_gif = start == b"GIF8"
    kind = tf.where(is_jpeg, 0, tf.where(is_png, 1, tf.where(is_bmp, 2, tf.where(is_gif, 3, 4))))
    problem = tf.switch_case(
        kind,
        [
            lambda: _problem_of_jpeg(encoded),
            lambda: tf.constant(""),
            lambda: _problem_of_bmp(encoded),
            lambda: _problem_of_gif(encoded),
            lambda: _problem_of_others(encoded),
        ],
    )
    image = tf.cond(problem == "", lambda: attempt(_decode, encoded, nothing), lambda: nothing)
    damaged = "it is damaged or ends early; copy or download it again"
    problem = tf.where((problem == "") & (tf.size(image) == 0), damaged, problem)
    exif = tf.switch_case(
        tf.minimum(kind, 2),
        [lambda: exif_of_jpeg(encoded), lambda: exif_of_png(encoded), lambda: tf.constant(b"")],
    )
    image = tf.cond(
        problem == "",
        lambda: turn_upright(image, orientation_of(exif)),
        lambda: tf.zeros([1, 1, 3], tf.uint8),
    )
    return problem, tf.ensure_shape(image, [None, None, 3])


def attempt(function: Callable[[tf.Tensor], Any], value: tf.Tensor, otherwise: Any) -> Any:
    """Returns what a function gives of a value, or something else of its kind where it fails.

    Operations can't be asked whether they will fail, but the elements of a dataset may.
    """
    fine = tf.data.Dataset.from_tensors(value).map(function).ignore_errors()
    failed = tf.data.Dataset.from_tensors(otherwise)
    return fine.concatenate(failed).take(1).get_single_element()


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image that is known to be a JPEG, PNG, BMP or GIF."""

    def bmp_or_gif() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.ensure_shape(image, [None, None, 3])

    start = substring(encoded, 0, 2)
    is_other = (start == b"BM") | (start == b"GI")
    return tf.cond(is_other, bmp_or_gif, lambda: decode_record_image(encoded))


def _problem_of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Refuses inks, of which every decoder has a recipe of its own."""
    shape = attempt(tf.io.extract_jpeg_shape, encoded, tf.zeros([3], tf.int32))  # of none: damaged
    return tf.where(shape[2] == 4, f"it is a CMYK JPEG; {_SEND}", "")


def _problem_of_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Refuses palettes, which TensorFlow's decoder ignores, and channels in other places."""
    bits, compression = bytes_at(encoded, 28, 1)[0], bytes_at(encoded, 30, 1)[0]
    header = bytes_at(encoded, 14, 1)[0]
    at_usual_places = substring(encoded, 54, 12)
    plain = (compression == 0) | ((compression == 3) & (at_usual_places == _BMP_MASKS))
    fine = (header >= 40) & ((bits == 24) | (bits == 32)) & plain
    return tf.where(fine, "", f"it is a BMP with a palette or of a rare kind; {_SEND}")


def _problem_of_gif(encoded: tf.Tensor) -> tf.Tensor:
    """Refuses first frames with transparent pixels, or smaller than the picture."""
    flags = bytes_at(encoded, 10, 1)[0]
    table = tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def step(
        position: tf.Tensor, inside: tf.Tensor, transparent: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        head = bytes_at(encoded, position, 4)
        control = ~inside & (head[1] == 0xF9) & (head[3] % 2 == 1)
        # An extension is blocks with their lengths, to one of length 0.
        length = tf.where(inside, 1 + head[0], 2)
        return position + length, ~inside | (head[0] > 0), transparent | control

    position, _, transparent = tf.while_loop(
        lambda position, inside, _: inside | (bytes_at(encoded, position, 1)[0] == 0x21),
        step,
        (13 + table, tf.constant(False), tf.constant(False)),
        maximum_iterations=1 << 16,
    )
    frame, screen = bytes_at(encoded, position, 9)[1:], bytes_at(encoded, 6, 4)
    whole = tf.reduce_all(frame == tf.concat([tf.zeros([4], tf.int32), screen], axis=0))
    fine = whole & ~transparent
    return tf.where(fine, "", f"it is a GIF with transparency or a partial frame; {_SEND}")


def _problem_of_others(encoded: tf.Tensor) -> tf.Tensor:
    """Names the kind of a file that TensorFlow doesn't decode."""
    found = tf.constant("")
    for place, marks in ((4, _BRANDS), (0, _STARTS)):
        for mark, name in marks.items():
            there = substring(encoded, place, len(mark)) == mark
            found = tf.where((found == "") & there, name, found)
    # No apostrophe: the message of an assertion would have it escaped.
    named = tf.strings.join(["it is of the kind ", found, f", which is not read; {_SEND}"])
    unknown = f"it is no image, or of an unknown kind; {_SEND}"
    problem = tf.where(found == "", unknown, named)
    return tf.where(encoded == "", "it is empty", problem)
