"""Pictures of labels: what each of their pixels stores, and what it shows, whatever the file is.

A file may hold the same picture as grey values of 1 to 16 bits, as a palette in any order, or as
colors, with or without alpha. Which of it means a class is not decided here.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from PIL import Image

from kmax_tf.errors import BadExampleError
from kmax_tf.files.opening import (
    ImageFile,
    count_pictures,
    load_pixels,
    open_image,
    read_bytes,
)
from kmax_tf.files.pixel_values import turn_of
from kmax_tf.panoptic.runs import find_runs

# Those that keep values; WebP may not, and PPM is scaled by its largest value.
_LOSSLESS = ("PNG", "TIFF", "BMP", "DIB", "GIF")
_PNG_ALPHA_OR_COLORS = (2, 4, 6)
_NO_COLOR = -1


@dataclasses.dataclass(frozen=True)
class LabelPicture:
    """A picture of U kinds of pixels, which differ in what they store or show.

    Attributes:
      kinds: [H, W] int, 0 .. U - 1.
      counts: [U] pixels of each kind.
      stored: [U] grey values or indices of the palette, as the file has them; None of colors.
      shown: [U, 3] red, green, blue, 0..255; -1 of grey values that 8 bits don't hold.
      alpha: [U] 0..255, where 0 is transparent.
      palette: whether `stored` are indices.
    """

    kinds: np.ndarray
    counts: np.ndarray
    stored: np.ndarray | None
    shown: np.ndarray
    alpha: np.ndarray
    palette: bool = False

    @property
    def levels(self) -> np.ndarray | None:
        """Returns [U] grey levels of 8 bits; None where it shows colors, or other levels."""
        shown = self.shown[self.alpha > 0]
        if (shown != shown[:, :1]).any() or (shown < 0).any():
            return None
        levels: np.ndarray = self.shown[:, 0]
        return levels


def read_label_picture(path: str | os.PathLike[str]) -> LabelPicture:
    """Reads a picture of labels: a PNG, TIFF, BMP or GIF.

    Raises:
      BadExampleError: the file is missing, damaged, too large, of a kind that changes values or
        has no plain ones, holds several pictures, or is transparent all over.
    """
    image = open_image(read_bytes(path), path)
    if image.format not in _LOSSLESS:
        raise BadExampleError(
            f"{image.path} is a {image.format}, which changes values; labels must be PNG"
        )
    frames = count_pictures(image)
    if frames > 1:
        raise BadExampleError(f"{image.path} holds {frames} pictures; labels must be one, as PNG")
    load_pixels(image)
    try:
        labels = _deep_labels(image) or _labels(image.picture, image.bits)
    except ValueError as error:
        raise BadExampleError(f"{image.path}: {error}") from error
    if not labels.alpha.any():
        raise BadExampleError(f"{image.path} is transparent all over; save it without alpha")
    turn = turn_of(image.picture)
    if turn is None:
        return labels
    # Labels that say how they are turned are turned as their image is.
    turned = np.asarray(Image.fromarray(labels.kinds.astype(np.int32)).transpose(turn))
    return dataclasses.replace(labels, kinds=turned)


def _labels(picture: Image.Image, bits: int) -> LabelPicture:
    mode = picture.mode
    if mode == "P":
        return _of_palette(picture)
    if mode in ("1", "L", "I", "F") or mode.startswith("I;16"):
        return _of_grey(picture, bits)
    if mode in ("LA", "PA", "RGB", "RGBX", "RGBA") and bits <= 8:
        return _of_colors(np.asarray(picture.convert("RGBA")))
    raise ValueError(
        f"it is a {picture.format} of {mode} colors with {bits} bits; save labels as a grey, "
        "palette or RGB PNG"
    )


def _of_grey(picture: Image.Image, bits: int) -> LabelPicture:
    values = np.asarray(picture)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise ValueError("it has floats that are no whole numbers; save values as a grey PNG")
        bits = 32
    kinds, present, counts = _kinds(values.astype(np.int64))
    white = 2**bits - 1
    # Pillow scales fewer bits than 8, one excepted.
    scaled = bits < 8 and picture.mode != "1"
    stored = present * white // 255 if scaled else present
    if bits > 16:  # Whole numbers without a white.
        shown = np.full_like(stored, _NO_COLOR)
    else:
        levels, rest = np.divmod(stored * 255, white)
        shown = np.where(rest == 0, levels, _NO_COLOR)
    alpha = np.full(len(present), 255)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        alpha[present == transparent] = 0
    return LabelPicture(kinds, counts, stored, np.repeat(shown[:, np.newaxis], 3, 1), alpha)


def _of_palette(picture: Image.Image) -> LabelPicture:
    kinds, present, counts = _kinds(np.asarray(picture))
    colors = np.full((256, 3), _NO_COLOR)
    palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)  # [256 or less, 3]
    colors[: len(palette)] = palette
    alpha = np.full(256, 255)
    transparent = picture.info.get("transparency", b"")
    if isinstance(transparent, int):
        alpha[transparent] = 0
    else:
        alpha[: len(transparent)] = list(transparent)
    stored = present.astype(np.int64)
    return LabelPicture(kinds, counts, stored, colors[present], alpha[present], palette=True)


def _of_colors(pixels: np.ndarray) -> LabelPicture:
    """Reads [H, W, 4] uint8 red, green, blue, alpha."""
    codes = np.ascontiguousarray(pixels).view("<u4")[..., 0]  # [H, W]
    kinds, present, counts = _kinds(codes)
    colors = present.astype("<u4").view(np.uint8).reshape(-1, 4).astype(np.int64)  # [U, 4]
    return LabelPicture(kinds, counts, None, colors[:, :3], colors[:, 3])


def _deep_labels(image: ImageFile) -> LabelPicture | None:
    """Reads a PNG of colors or alpha with 16 bits, whose lower bytes Pillow drops; None: another.

    Raises:
      ValueError: it has colors that 8 bits don't hold.
    """
    if image.format != "PNG" or image.png_header[0] != 16:
        return None
    if image.png_header[1] not in _PNG_ALPHA_OR_COLORS:
        return None
    import tensorflow as tf  # slow to import, for a rare kind

    pixels = tf.io.decode_png(image.data, dtype=tf.uint16).numpy().astype(np.int64)  # [H, W, C]
    has_alpha = pixels.shape[-1] in (2, 4)
    colors = pixels[..., :-1] if has_alpha else pixels
    alpha = pixels[..., -1] if has_alpha else np.full(pixels.shape[:2], 65535)
    if (colors != colors[..., :1]).any():
        if (colors % 257).any():
            raise ValueError("it has colors of 16 bits; save labels with 8 bits a channel")
        eight_bits = np.concatenate([colors // 257, alpha[..., np.newaxis] // 257], -1)
        return _of_colors(eight_bits.astype(np.uint8))
    kinds, present, counts = _kinds(colors[..., 0] + 65536 * (alpha // 257))
    stored = present % 65536
    shown = np.where(stored % 257 == 0, stored // 257, _NO_COLOR)
    shown = np.repeat(shown[:, np.newaxis], 3, 1)
    return LabelPicture(kinds, counts, stored, shown, present // 65536)


def _kinds(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers the values of a map by its runs: [H, W] numbers, [U] values, [U] their pixels."""
    runs = find_runs(codes)
    return runs.places(), runs.values, runs.areas
