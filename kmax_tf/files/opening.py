"""Opening of image files: what they are, whether they are whole, and their pixels."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import os
import warnings
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from kmax_tf.errors import BadExampleError
from kmax_tf.files.file_kinds import describe_file
from kmax_tf.files.image_damage import (
    PNG_SIGNATURE,
    PROGRESSIVE,
    JpegLayout,
    jpeg_layout,
    png_end,
)
from kmax_tf.files.pixel_values import bits_of, describe_tiff
from kmax_tf.files.reading import read_file

# Larger images are refused before they are decoded, whatever a few bytes of a file declare. The
# label of one as large takes 256 MB.
MAX_PIXELS = 2**26
# Multi-picture files of phones start with a plain JPEG. Pillow's other formats are rarer than the
# holes of their decoders.
_JPEG_FORMATS = ("JPEG", "MPO")
_FORMATS = (*_JPEG_FORMATS, "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
# Bits that any Huffman table reads as something else than the zeros that decoders fill in.
_JPEG_FILLER = b"\x55" * 64


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file, looked into.

    Attributes:
      path: of the file, for messages.
      data: its content, up to the end of the image.
      picture: what it declares; decoded by load_pixels.
      jpeg: the parts of a JPEG; None of another file.
    """

    path: str
    data: bytes
    picture: Image.Image
    jpeg: JpegLayout | None

    @property
    def format(self) -> str:
        """Returns the name of the file's format."""
        return str(self.picture.format)

    @property
    def bits(self) -> int:
        """Returns the bits of a channel in the file."""
        if self.format == "PNG":
            return self.png_header[0]
        return 1 if self.picture.mode == "1" else bits_of(self.picture)

    @property
    def png_header(self) -> tuple[int, int]:
        """Returns a PNG's bits a channel and its type of color, which Pillow doesn't tell."""
        return self.data[24], self.data[25]


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


def open_image(data: bytes, path: str | os.PathLike[str]) -> ImageFile:
    """Reads what a file of this content declares, without decoding its pixels.

    Raises:
      BadExampleError: it ends early, is too large, or of a kind that isn't read.
    """
    name = os.fspath(path)
    layout = None
    try:
        if data.startswith(_TIFF_SIGNATURES) and describe_file(data)[0]:
            raise UnidentifiedImageError  # a RAW photo of which Pillow would read a preview
        if data.startswith(PNG_SIGNATURE):
            data = data[: png_end(data)]
        picture = _opened(data)
        if picture.format in _JPEG_FORMATS:
            layout = jpeg_layout(data)
            data = data[: layout.end]
    except Exception as error:  # Pillow raises a dozen kinds on corrupt files.
        kind, advice = _kind_of(data)
        if kind:
            raise BadExampleError(f"{name} is {kind}, which isn't read; {advice}") from error
        raise _undecodable(name, error) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise BadExampleError(
            f"{name} has {picture.width} x {picture.height} pixels; at most "
            f"{MAX_PIXELS} are read. Scale it down, or cut it into tiles"
        )
    return ImageFile(name, data, picture, layout)


def load_pixels(image: ImageFile) -> ImageFile:
    """Decodes the pixels, and returns the image.

    Raises:
      BadExampleError: they are damaged, or some are missing.
    """
    if image.jpeg is not None:
        check_jpeg(image, image.jpeg)
    return _loaded(image)


def count_pictures(image: ImageFile) -> int:
    """Returns how many pictures a file holds; raises BadExampleError where it is damaged."""
    with _told(image.path):
        return getattr(image.picture, "n_frames", 1)


def _loaded(image: ImageFile) -> ImageFile:
    with _told(image.path):
        image.picture.load()
    return image


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Makes a sentence of what Pillow raises, of which there are a dozen kinds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of odd metadata
            yield
    except Exception as error:
        raise _undecodable(path, error) from error


def _opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=_known_formats())


@functools.cache
def _known_formats() -> tuple[str, ...]:
    # Only its registry knows which formats this Pillow was built with. To fill it with all formats
    # that there are (Image.init) would take longer than to decode some images.
    Image.preinit()
    for plugin in ("MpoImagePlugin", "TiffImagePlugin", "WebPImagePlugin"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _kind_of(data: bytes) -> tuple[str, str]:
    """Returns what describe_file does, and the same of a TIFF that Pillow doesn't know."""
    kind, advice = describe_file(data)
    if kind or not data.startswith(_TIFF_SIGNATURES):
        return kind, advice
    try:
        file = io.BytesIO(data)
        head = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(head.next)
        head.load(file)
        what = describe_tiff(head)
    except Exception:  # It is damaged.
        return "", ""
    advice = "save three of its channels as RGB, or one as grey, with 8 bits"
    return (f"a TIFF of {what}", advice) if what else ("", "")


def _undecodable(path: str, error: Exception) -> BadExampleError:
    reason = str(error).replace("\n", " ")
    if isinstance(error, Image.DecompressionBombError):
        return BadExampleError(
            f"{path} has more than the {MAX_PIXELS} pixels that are read at most. Scale it down, "
            "or cut it into tiles"
        )
    if isinstance(error, UnidentifiedImageError):
        reason = "it is no image, or of an unknown format"
    reason = reason or type(error).__name__
    return BadExampleError(f"cannot decode {path}: {reason}; replace it or copy it again")


def check_jpeg(image: ImageFile, layout: JpegLayout) -> None:
    """Decodes a JPEG at an eighth of its size, which reads all of it at a fraction of the time.

    Where pixels are missing before the end marker, decoders fill in without a word. They read
    whatever comes before the marker as pixels then: the picture changes with it.

    Raises:
      BadExampleError: it cannot be decoded, or pixels are missing.
    """
    end = layout.pixels_end
    pictures = []
    for content in (image.data, image.data[:end] + _JPEG_FILLER + image.data[end:]):
        small = dataclasses.replace(image, picture=_opened(content))
        width, height = small.picture.size
        if layout.frame != PROGRESSIVE:  # whose later scans an eighth doesn't show
            small.picture.draft(small.picture.mode, (-(-width // 8), -(-height // 8)))
        pictures.append(_loaded(small).picture.tobytes())
    if pictures[0] != pictures[1]:
        raise BadExampleError(
            f"cannot decode {image.path}: pixels are missing; replace it or copy it again"
        )
