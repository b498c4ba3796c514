"""Decoding of images as people have them, to RGB with 8 bits a channel.

Read: JPEG, PNG, TIFF, WebP, BMP, GIF and PPM; grey, palette, RGBA (alpha is dropped, as
TensorFlow's decoders do), CMYK and 16-bit images. A rotation in the EXIF data is applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import os
import re
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kmax_tf.data.sources import read_file
from kmax_tf.errors import UserError

JPEG_QUALITY = 95
# Larger images are refused before they are decoded, whatever a few bytes of a file declare. The
# label of one as large takes 256 MB.
MAX_PIXELS = 2**26
# Multi-picture files of phones start with a plain JPEG. Pillow's other formats are rarer than the
# holes of their decoders.
_JPEG_FORMATS = ("JPEG", "MPO")
_FORMATS = (*_JPEG_FORMATS, "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm")
_ORIENTATION_TAG = 0x0112
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
# What no scan has: a marker other than those that restart it or count its lines.
_JPEG_STRAY = re.compile(rb"\xff[^\x00\xd0-\xd7\xdc\xff]")
# Bits that any Huffman table reads as something else than the zeros that decoders fill in.
_JPEG_FILLER = b"\x55" * 64
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
      BadExampleError: the file is missing, cannot be decoded, or is too large.
    """
    return np.asarray(_to_rgb(_loaded(_open(read_bytes(path), path), path)))


def read_encoded(path: str | os.PathLike[str]) -> EncodedImage:
    """Reads an image file for a record.

    An upright RGB JPEG or PNG keeps its bytes, once they are known to decode. Everything else is
    encoded again: JPEG as JPEG, the rest as PNG. A rotation in the EXIF data is applied then, since
    TensorFlow's decoders ignore it and annotations belong to the upright image.

    Args:
      path: of the image.

    Raises:
      BadExampleError: the file is missing, cannot be decoded, or is too large.
    """
    data = read_bytes(path)
    image = _open(data, path)
    is_jpeg = image.format in _JPEG_FORMATS
    keeps_bytes = image.mode == "RGB" and (is_jpeg or image.format == "PNG") and _is_upright(image)
    width, height = image.size
    if is_jpeg:
        _check_jpeg(data, path)
    if keeps_bytes:
        if not is_jpeg:
            _loaded(image, path)
        return EncodedImage(data, "jpeg" if is_jpeg else "png", height, width)
    rgb = _to_rgb(_loaded(image, path))
    buffer = io.BytesIO()
    if is_jpeg:
        rgb.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        rgb.save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), "jpeg" if is_jpeg else "png", rgb.height, rgb.width)


def check_encoded(data: bytes, name: str) -> tuple[int, int]:
    """Checks that the image of a record decodes, and returns its height and width.

    Args:
      data: the encoded bytes.
      name: of the image, for messages.

    Raises:
      BadExampleError: it is neither JPEG nor PNG, cannot be decoded, or is too large.
    """
    image = _open(data, name)
    width, height = image.size
    if image.format in _JPEG_FORMATS:
        _check_jpeg(data, name)
    elif image.format == "PNG":
        _loaded(image, name)
    else:
        raise BadExampleError(f"{name} is a {image.format}; records hold JPEG and PNG only")
    return height, width


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes the image of a record as TensorFlow does: [H, W, 3] uint8, not turned.

    Raises:
      BadExampleError: it cannot be decoded, or is too large.
    """
    return np.asarray(_loaded(_open(data, name), name).convert("RGB"))


def read_id_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a PNG whose colours are ids: red + 256 green + 65536 blue (alpha is dropped).

    Args:
      path: of the PNG.

    Returns:
      [H, W] int32.

    Raises:
      BadExampleError: the file is missing, corrupt, or not RGB with 8 bits a channel.
    """
    data = read_bytes(path)
    image = _open(data, path)
    # Pillow halves 16 bits a channel without a word; the depth is byte 24 of a PNG.
    if image.mode not in ("RGB", "RGBA") or image.format != "PNG" or data[24] != 8:
        depth = f" with {data[24]} bits" if image.format == "PNG" else ""
        raise BadExampleError(
            f"{os.fspath(path)} is a {image.format} of mode {image.mode}{depth}; a panoptic PNG "
            "must be RGB with 8 bits a channel, since its colours are segment ids"
        )
    # Red, green, blue and a fourth byte, which the mask drops, are a little-endian number. Pillow
    # keeps pixels in this form, so that nothing is converted.
    raw = "RGBX" if image.mode == "RGB" else "RGBA"
    pixels = np.frombuffer(_loaded(image, path).tobytes("raw", raw), "<i4")
    return (pixels & 0xFFFFFF).reshape(image.height, image.width)  # [H, W]


def read_values(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture of labels as it is stored, without any conversion of its values.

    Args:
      path: of a lossless image.

    Returns:
      [H, W] uint8, uint16 or int32 of a grey image (0 and 1 of a bilevel one) and of a palette's
      indices; [H, W, 2..4] uint8 of one with more channels.

    Raises:
      BadExampleError: the file is missing, cannot be decoded, is too large, or is a JPEG, which
        doesn't keep values.
    """
    image = _open(read_bytes(path), path)
    if image.format in _JPEG_FORMATS:
        raise BadExampleError(
            f"{os.fspath(path)} is a JPEG, which changes values; labels must be PNG"
        )
    values = np.asarray(_loaded(image, path))
    return values.astype(np.uint8) if values.dtype == bool else values


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads a file.

    Raises:
      BadExampleError: it is missing, empty or cannot be read.
    """
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have.
        reason = getattr(error, "strerror", None) or error
        raise BadExampleError(f"cannot read {os.fspath(path)!s}: {reason}") from error
    if not data:
        raise BadExampleError(f"{os.fspath(path)} is empty; copy or download it again")
    return data


def _open(data: bytes, path: str | os.PathLike[str]) -> Image.Image:
    """Reads what a file declares, without decoding its pixels."""
    try:
        if data.startswith(_PNG_SIGNATURE):
            _check_png(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of odd metadata
            image = Image.open(io.BytesIO(data), formats=_known_formats())
    except Exception as error:  # Pillow raises a dozen kinds on corrupt files.
        raise _undecodable(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise BadExampleError(
            f"{os.fspath(path)} has {image.width} x {image.height} pixels; at most "
            f"{MAX_PIXELS} are read. Scale it down, or cut it into tiles"
        )
    return image


@functools.cache
def _known_formats() -> tuple[str, ...]:
    # Only its registry knows which formats this Pillow was built with. To fill it with all formats
    # that there are (Image.init) would take longer than to decode some images.
    Image.preinit()
    for plugin in ("MpoImagePlugin", "TiffImagePlugin", "WebPImagePlugin"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _loaded(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    """Decodes the pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Exception as error:
        raise _undecodable(path, error) from error
    return image


def _undecodable(path: str | os.PathLike[str], error: Exception) -> BadExampleError:
    reason = str(error).replace("<_io.BytesIO object at ", "<").replace("\n", " ")
    if isinstance(error, UnidentifiedImageError):
        reason = "it is no image, or of an unknown format"
    reason = reason or type(error).__name__
    return BadExampleError(
        f"cannot decode {os.fspath(path)}: {reason}; replace it or copy it again"
    )


def _check_png(data: bytes) -> None:
    """Checks the length and checksum of each chunk; Pillow skips those of the pixels."""
    view = memoryview(data)
    position = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        header = data[position : position + 8]
        if len(header) < 8:
            raise ValueError("it is truncated")
        length, kind = struct.unpack(">I4s", header)
        end = position + 8 + length
        checksum = data[end : end + 4]
        if len(checksum) < 4:
            raise ValueError("it is truncated")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(checksum, "big"):
            raise ValueError(f"its bytes {position} to {end} don't have their checksum")
        position = end + 4


def _check_jpeg(data: bytes, path: str | os.PathLike[str]) -> None:
    """Decodes a JPEG at an eighth of its size, which reads all of it at a fraction of the time.

    Where pixels are missing before the end marker, decoders fill in without a word. They read
    whatever comes before the marker as pixels then: the picture changes with it.

    Raises:
      BadExampleError: it cannot be decoded, or pixels are missing.
    """
    end = data.rfind(_JPEG_END)
    scan = data.rfind(_JPEG_SCAN)
    # Pillow does without the end, and with markers among pixels; TensorFlow doesn't.
    problem = "its end is missing" if end < scan else ""
    if not problem and _JPEG_STRAY.search(data, scan + 2, end):
        problem = "its pixels are damaged"
    if problem:
        raise BadExampleError(
            f"cannot decode {os.fspath(path)}: {problem}; replace it or copy it again"
        )
    pictures = []
    for content in (data, data[:end] + _JPEG_FILLER + data[end:]):
        image = _open(content, path)
        image.draft(image.mode, (-(-image.width // 8), -(-image.height // 8)))
        pictures.append(_loaded(image, path).tobytes())
    if pictures[0] != pictures[1]:
        raise BadExampleError(
            f"cannot decode {os.fspath(path)}: pixels are missing; replace it or copy it again"
        )


def _is_upright(image: Image.Image) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(image.getexif().get(_ORIENTATION_TAG, 1) == 1)
    except Exception:  # Metadata that cannot be read turns nothing.
        return True


def _to_rgb(image: Image.Image) -> Image.Image:
    upright = image if _is_upright(image) else ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling.
        grey = np.asarray(upright).astype(np.int64) >> 8
        upright = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    return upright.convert("RGB")
