"""Decoding of images as people have them, to RGB with 8 bits a channel.

Read: JPEG, PNG and what else Pillow opens; grey, palette, RGBA (alpha is dropped, as TensorFlow's
decoders do), CMYK and 16-bit images. A rotation in the EXIF data is applied.
"""

from __future__ import annotations

import dataclasses
import io
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kmax_tf.errors import UserError

JPEG_QUALITY = 95
_ORIENTATION_TAG = 0x0112
# Multi-picture files of phones start with a plain JPEG.
_JPEG_FORMATS = ("JPEG", "MPO")


class BadExampleError(UserError):
    """Says which file cannot be used, why, and what to do about it."""


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
      BadExampleError: the file is missing or cannot be decoded.
    """
    return np.asarray(_to_rgb(_open(read_bytes(path), path)))


def read_encoded(path: str | os.PathLike[str]) -> EncodedImage:
    """Reads an image file for a record.

    An upright RGB JPEG or PNG keeps its bytes. Everything else is encoded again: JPEG as JPEG, the
    rest as PNG. A rotation in the EXIF data is applied then, since TensorFlow's decoders ignore it
    and annotations belong to the upright image.

    Args:
      path: of the image.

    Raises:
      BadExampleError: the file is missing or cannot be decoded.
    """
    data = read_bytes(path)
    image = _open(data, path)
    is_jpeg = image.format in _JPEG_FORMATS
    upright = image.getexif().get(_ORIENTATION_TAG, 1) == 1
    if image.mode == "RGB" and upright and (is_jpeg or image.format == "PNG"):
        return EncodedImage(data, "jpeg" if is_jpeg else "png", image.height, image.width)
    rgb = _to_rgb(image)
    buffer = io.BytesIO()
    if is_jpeg:
        rgb.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        rgb.save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), "jpeg" if is_jpeg else "png", rgb.height, rgb.width)


def read_id_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a PNG whose colours are ids: red + 256 green + 65536 blue (alpha is dropped).

    Args:
      path: of the PNG.

    Returns:
      [H, W] int32.

    Raises:
      BadExampleError: the file is missing, corrupt, or not RGB.
    """
    image = _open(read_bytes(path), path)
    if image.mode not in ("RGB", "RGBA"):
        raise BadExampleError(
            f"{path} has mode {image.mode}; a panoptic PNG must be RGB, since its colours are "
            "segment ids"
        )
    # Red, green, blue and a fourth byte, which the mask drops, are a little-endian number. Pillow
    # keeps pixels in this form, so that nothing is converted.
    raw = "RGBX" if image.mode == "RGB" else "RGBA"
    ids = np.frombuffer(image.tobytes("raw", raw), "<i4").reshape(image.height, image.width)
    return ids & 0xFFFFFF


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads a file.

    Raises:
      BadExampleError: it is missing, empty or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BadExampleError(
            f"cannot read {os.fspath(path)}: {error.strerror or error}"
        ) from error
    if not data:
        raise BadExampleError(f"{os.fspath(path)} is empty; copy or download it again")
    return data


def _open(data: bytes, path: str | os.PathLike[str]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # Pillow raises a dozen kinds on corrupt files.
        reason = str(error).replace("<_io.BytesIO object at ", "<") or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is no image, or of an unknown format"
        raise BadExampleError(
            f"cannot decode {os.fspath(path)}: {reason}; replace it or copy it again"
        ) from error
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling.
        grey = np.asarray(upright).astype(np.int64) >> 8
        upright = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    return upright.convert("RGB")
