"""The PNG of COCO's panoptic format, whose colors are ids: red + 256 green + 65536 blue."""

from __future__ import annotations

import os

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.files.images import encode_image
from kmax_tf.files.opening import load_pixels, open_image, read_bytes

LARGEST_ID = (1 << 24) - 1


def read_ids(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads the ids of a PNG: [H, W] int32; alpha is dropped.

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
    return (pixels & LARGEST_ID).reshape(picture.height, picture.width)  # [H, W]


def encode_ids(ids: np.ndarray, **options: int) -> bytes:
    """Returns the PNG of ids [H, W], each from 0 to LARGEST_ID; options are Pillow's.

    Raises:
      ValueError: an id doesn't fit into 24 bits.
    """
    if ids.size and (ids.min() < 0 or ids.max() > LARGEST_ID):
        raise ValueError(f"ids must be in [0, {LARGEST_ID}], not {ids.min()} .. {ids.max()}")
    colors = np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], axis=-1).astype(np.uint8)
    return encode_image(colors, "PNG", **options)
