"""Images as people have them, as RGB with 8 bits a channel.

Read: JPEG, PNG, TIFF, WebP, BMP, GIF and PPM, by the rules of pixel_values.py; of several pictures
in a file, the first. A rotation in the EXIF data is applied. Files of other kinds are named.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import unicodedata

import numpy as np
from PIL import Image

from kmax_tf.errors import BadExampleError
from kmax_tf.files.image_damage import PROGRESSIVE, JpegLayout
from kmax_tf.files.opening import ImageFile, check_jpeg, load_pixels, open_image, read_bytes
from kmax_tf.files.pixel_values import to_rgb, turn_of
from kmax_tf.files.writing import PathLike, write_atomically

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp"),
    *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# The frames that every build of every decoder reads: baseline, extended, progressive.
_PLAIN_FRAMES = (0xC0, 0xC1, PROGRESSIVE)
_PNG_RGB = 2


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An RGB image in a form that TensorFlow decodes.

    Attributes:
      data: the encoded bytes.
      format: "jpeg" or "png".
      height: in pixels.
      width: in pixels.
    """

    data: bytes
    format: str
    height: int
    width: int


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image file: [H, W, 3] uint8 RGB, upright.

    Raises:
      BadExampleError: the file is missing, damaged, too large, or of a kind that isn't read.
    """
    return decode_upright_image(read_bytes(path), os.fspath(path))


def decode_upright_image(data: bytes, name: str) -> np.ndarray:
    """Decodes the content of an image file as `read_image` does; raises the same."""
    return _rgb(load_pixels(open_image(data, name)))


def read_encoded(path: str | os.PathLike[str]) -> EncodedImage:
    """Reads an image file for a record: TensorFlow decodes there what read_image gives.

    An upright RGB or grey JPEG, and an RGB PNG of 8 bits, keep their bytes, once they are known to
    decode, without what stands behind the image. Everything else becomes an RGB PNG: TensorFlow's
    decoders ignore EXIF data, while annotations belong to the upright image, and read other kinds
    in their own ways.

    Raises:
      BadExampleError: the file is missing, damaged, too large, or of a kind that isn't read.
    """
    image = open_image(read_bytes(path), path)
    picture = image.picture
    width, height = picture.size
    if image.jpeg is not None and _keeps_bytes(image.jpeg, picture):
        check_jpeg(image, image.jpeg)
        return EncodedImage(image.data, "jpeg", height, width)
    load_pixels(image)
    # A PNG's EXIF data may stand behind its pixels.
    plain_png = image.format == "PNG" and image.png_header == (8, _PNG_RGB)
    if plain_png and turn_of(picture) is None:
        return EncodedImage(image.data, "png", height, width)
    rgb = _rgb(image)
    return EncodedImage(encode_image(rgb), "png", *rgb.shape[:2])


def _keeps_bytes(layout: JpegLayout, picture: Image.Image) -> bool:
    plain = layout.frame in _PLAIN_FRAMES and picture.mode in ("RGB", "L")
    return plain and turn_of(picture) is None


def check_encoded(data: bytes, name: str) -> tuple[int, int]:
    """Checks that the image of a record decodes, and returns its height and width.

    Raises:
      BadExampleError: it is neither JPEG nor PNG, cannot be decoded, or is too large.
    """
    image = open_image(data, name)
    if image.jpeg is not None:
        check_jpeg(image, image.jpeg)
    elif image.format == "PNG":
        load_pixels(image)
    else:
        raise BadExampleError(f"{name} is a {image.format}; records hold JPEG and PNG only")
    return image.picture.height, image.picture.width


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes the image of a record as TensorFlow does: [H, W, 3] uint8, not turned.

    Raises:
      BadExampleError: it cannot be decoded, or is too large.
    """
    return np.asarray(load_pixels(open_image(data, name)).picture.convert("RGB"))


def image_key(path: str) -> str:
    """Returns what all spellings of an image's path have in common: its ending goes, if known."""
    stem, ending = os.path.splitext(path)
    plain = stem if ending.lower() in IMAGE_SUFFIXES else path
    return unicodedata.normalize("NFC", pathlib.PurePath(plain).as_posix())


def encode_image(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    """Returns pixels [H, W] or [H, W, 3] as an image file; options are Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_png(path: PathLike, pixels: np.ndarray) -> None:
    """Writes pixels [H, W] or [H, W, 3], whole or not at all; raises OutputError."""
    write_atomically(path, encode_image(pixels))


def _rgb(image: ImageFile) -> np.ndarray:
    """Converts a decoded image to [H, W, 3] uint8 RGB, upright."""
    try:
        return np.asarray(to_rgb(image.picture, image.bits))
    except ValueError as error:
        raise BadExampleError(f"{image.path}: {error}") from error
