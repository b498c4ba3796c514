"""Image files: PNGs of every kind, also those that Pillow doesn't write, and what it writes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
# Of Adam7: first column and row, steps.
_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
_PASSES += [(0, 1, 1, 2)]


def png(
    samples: np.ndarray,
    color: int,
    depth: int = 8,
    palette: bytes = b"",
    transparency: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """Returns a PNG.

    Args:
      samples: [H, W] or [H, W, C], as they are to be stored.
      color: GREY, RGB, PALETTE, GREY_ALPHA or RGBA.
      depth: bits of a sample: 1, 2, 4, 8 or 16.
      palette: content of the chunk PLTE.
      transparency: content of the chunk tRNS.
      interlaced: in seven passes.
    """
    height, width = samples.shape[:2]
    samples = samples.reshape(height, width, -1)
    passes = _PASSES if interlaced else [(0, 0, 1, 1)]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
    data = b"".join(_rows(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", transparency)]
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    kept = [(kind, content) for kind, content in chunks if content or kind == b"IEND"]
    return png_of(kept)


def encoded(
    pixels: np.ndarray | Image.Image, kind: str = "PNG", mode: str | None = None, **options: Any
) -> bytes:
    """Returns a file that Pillow writes, of pixels converted to a mode first."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Returns a PNG of chunks, each a kind and its content."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def _rows(samples: np.ndarray, depth: int) -> bytes:
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in samples]
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., np.newaxis], axis=-1)[..., 8 - depth :]
        lines = [np.packbits(row).tobytes() for row in bits.reshape(len(samples), -1)]
    return b"".join(b"\0" + line for line in lines)  # no filter


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
