"""Damage in JPEGs and PNGs that decoders pass over, and where these end: much may stand behind.

Phones append a film, a depth map, or pictures in other sizes, to a photo's JPEG.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
# Marker of a frame whose scans each add to all of the picture.
PROGRESSIVE = 0xC2
# A marker outside a scan: what comes before it is skipped, as decoders do.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
# In a scan: other than those that restart it. Bytes of 255 in it are followed by a 0.
_MARKER_IN_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_END, _SCAN = 0xD9, 0xDA
_ALONE = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Tables, scans, restart intervals, lines, application data and comments.
_SEGMENTS = _FRAMES | {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, *range(0xE0, 0xF0), 0xFE}


@dataclasses.dataclass(frozen=True)
class JpegLayout:
    """The parts of a JPEG.

    Attributes:
      frame: marker of its frame: 0xC0 and 0xC1 baseline, 0xC2 progressive, others are rare.
      pixels_end: where its end marker is.
      end: where the image ends.
    """

    frame: int
    pixels_end: int
    end: int


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walks through a JPEG's segments and scans to its end.

    Raises:
      ValueError: says what is wrong: it ends early, or has markers where no decoder expects them.
    """
    frame = 0
    position = len(JPEG_START)
    pattern = _MARKER
    while True:
        match = pattern.search(data, position)
        if match is None:
            raise ValueError("its end is missing")
        code = match[1][0]
        if code == _END:
            # Any number of fill bytes may stand before a marker.
            pixels = data[: match.start()].rstrip(b"\xff")
            return JpegLayout(frame, len(pixels), match.end())
        position = match.end()
        if code in _ALONE:
            continue
        if code not in _SEGMENTS:
            raise ValueError("its pixels are damaged" if frame else "its head is damaged")
        frame = frame or (code if code in _FRAMES else 0)
        # The end of data is no damage in the segment: it is the end that is missing.
        position += int.from_bytes(data[position : position + 2], "big")
        pattern = _MARKER_IN_SCAN if code == _SCAN else _MARKER


def png_end(data: bytes) -> int:
    """Checks the length and checksum of each chunk; Pillow skips those of the pixels.

    Returns:
      Where the image ends.

    Raises:
      ValueError: says what is wrong.
    """
    view = memoryview(data)
    position = len(PNG_SIGNATURE)
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
    return position
