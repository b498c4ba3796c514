"""Images as people have them, as RGB with 8 bits a channel.

Read: JPEG, PNG, TIFF, WebP, BMP, GIF and PPM, by the rules of pixel_values.py; of several pictures
in a file, the first. A rotation in the EXIF data is applied. Files of other kinds are named.
"""

from __future__ import annotations

import dataclasses
import io
import os

import numpy as np
from PIL import Image

from kmax_tf.files.image_damage import PROGRESSIVE, JpegLayout
from kmax_tf.files.image_files import (
    MAX_PIXELS,
    BadExampleError,
    ImageFile,
    check_jpeg,
    load_pixels,
    open_image,
    read_bytes,
)
from kmax_tf.files.pixel_values import to_rgb, turn_of

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "BadExampleError",
    "EncodedImage",
    "check_encoded",
    "decode_image",
    "read_encoded",
    "read_id_map",
    "read_image",
]

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
    """Reads an image file.

    Args:
      path: of the image.

    Returns:
      [H, W, 3] uint8 RGB, upright.

    Raises:
      BadExampleError: the file is missing, damaged, too large, or of a kind that isn't read.
    """
    return _rgb(load_pixels(open_image(read_bytes(path), path)))


def read_encoded(path: str | os.PathLike[str]) -> EncodedImage:
    """Reads an image file for a record: TensorFlow decodes there what read_image gives.

    An upright RGB or grey JPEG, and an RGB PNG of 8 bits, keep their bytes, once they are known to
    decode, without what stands behind the image. Everything else becomes an RGB PNG: TensorFlow's
    decoders ignore EXIF data, while annotations belong to the upright image, and read other kinds
    in their own ways.

    Args:
      path: of the image.

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
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), "png", *rgb.shape[:2])


def _keeps_bytes(layout: JpegLayout, picture: Image.Image) -> bool:
    plain = layout.frame in _PLAIN_FRAMES and picture.mode in ("RGB", "L")
    return plain and turn_of(picture) is None


def check_encoded(data: bytes, name: str) -> tuple[int, int]:
    """Checks that the image of a record decodes, and returns its height and width.

    Args:
      data: the encoded bytes.
      name: of the image, for messages.

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


def read_id_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a PNG whose colours are ids: red + 256 green + 65536 blue (alpha is dropped).

    Args:
      path: of the PNG.

    Returns:
      [H, W] int32.

    Raises:
      BadExampleError: the file is missing, corrupt, or not RGB with 8 bits a channel.
    """
    image = open_image(read_bytes(path), path)
    mode = image.picture.mode
    # Pillow halves 16 bits a channel without a word.
    if mode not in ("RGB", "RGBA") or image.format != "PNG" or image.png_header[0] != 8:
        depth = f" with {image.png_header[0]} bits" if image.format == "PNG" else ""
        raise BadExampleError(
            f"{image.path} is a {image.format} of mode {mode}{depth}; a panoptic PNG "
            "must be RGB with 8 bits a channel, since its colours are segment ids"
        )
    # Red, green, blue and a fourth byte, which the mask drops, are a little-endian number. Pillow
    # keeps pixels in this form, so that nothing is converted.
    picture = load_pixels(image).picture
    pixels = np.frombuffer(picture.tobytes("raw", "RGBX" if mode == "RGB" else "RGBA"), "<i4")
    return (pixels & 0xFFFFFF).reshape(picture.height, picture.width)  # [H, W]


def _rgb(image: ImageFile) -> np.ndarray:
    """Converts a decoded image to [H, W, 3] uint8 RGB, upright."""
    try:
        return np.asarray(to_rgb(image.picture, image.bits))
    except ValueError as error:
        raise BadExampleError(f"{image.path}: {error}") from error
