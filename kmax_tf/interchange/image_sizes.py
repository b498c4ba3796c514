"""Sizes of image files, as their upright pixels have them."""

from __future__ import annotations

from PIL import Image

from kmax_tf.files.opening import open_image, read_bytes
from kmax_tf.files.pixel_values import turn_of

_TRANSPOSING = (
    *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270),
    *(Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90),
)


def upright_size(path: str) -> tuple[int, int]:
    """Returns height and width of an image file.

    Raises:
      BadExampleError: the file is missing, or of a kind that isn't read.
    """
    picture = open_image(read_bytes(path), path).picture
    width, height = picture.size
    return (width, height) if turn_of(picture) in _TRANSPOSING else (height, width)
