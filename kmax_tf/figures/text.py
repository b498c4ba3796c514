"""Names written into segments, each at the place where it fits best."""

from __future__ import annotations

import dataclasses
import functools
from typing import Union

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import scipy.ndimage

from kmax_tf.panoptic.colors import Color, darken

Font = Union[PIL.ImageFont.FreeTypeFont, PIL.ImageFont.ImageFont]

# Space around a text in its box, and from its box to the edge of the segment, in font sizes.
_PADDING = 0.28
_SMALLEST = 11
# Of a segment's area; only the smallest font may cover more.
_LARGEST_SHARE = 0.35
_BOX_OPACITY = 215
# At least so many rows or columns of a large segment are looked at for its most interior place.
_DEPTH_SIDE = 120


@dataclasses.dataclass(frozen=True)
class Label:
    """A text in a box: x, y (left, top), width and height of the box in pixels."""

    text: str
    size: int
    x: int
    y: int
    width: int
    height: int
    color: Color


@functools.cache
def font(size: int) -> Font:
    """Returns Pillow's own font in a size (pixels); a fixed small one where it can't scale."""
    try:
        return PIL.ImageFont.load_default(size=size)
    except (ImportError, OSError):  # built without FreeType
        return PIL.ImageFont.load_default()


def text_size(text: str, size: int) -> tuple[int, int]:
    """Returns the width and height of a text's box, in pixels, for a font size."""
    padding = max(2, round(size * _PADDING))
    left, _, right, _ = font(size).getbbox(text)
    _, top, _, bottom = font(size).getbbox("Ag")
    return round(right - left) + 2 * padding, round(bottom - top) + 2 * padding


def place_label(
    mask: np.ndarray, origin: tuple[int, int], text: str, size: int, color: Color
) -> Label | None:
    """Finds the place for a segment's name: the most interior one where its box fits.

    Args:
      mask: [h, w] bool, the segment, cut out of the picture.
      origin: row and column of the cut in the picture.
      text: the name.
      size: font size, in pixels; smaller ones are tried too.
      color: of the segment.

    Returns:
      The label, or None where the segment is too small for it.
    """
    mask = np.pad(mask, 1)
    total = np.pad(mask.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    area = int(total[-1, -1])
    for candidate in _sizes(size):
        width, height = text_size(text, candidate)
        most = area if candidate == _SMALLEST else _LARGEST_SHARE * area
        fits = _corners(total, width, height) if width * height <= most else None
        if fits is not None and fits.any():
            corner = _deepest(fits, _depth(mask), width, height)
            y, x = (place + start - 1 for place, start in zip(corner, origin))
            return Label(text, candidate, x, y, width, height, color)
    return None


def draw_labels(picture: np.ndarray, labels: list[Label]) -> np.ndarray:
    """Writes labels, light on boxes in a dark tone of their segment: [H, W, 3] uint8."""
    canvas = PIL.Image.fromarray(picture)
    drawing = PIL.ImageDraw.Draw(canvas, "RGBA")
    for label in labels:
        box = (label.x, label.y, label.x + label.width - 1, label.y + label.height - 1)
        fill = (*darken(label.color, 0.72), _BOX_OPACITY)
        drawing.rounded_rectangle(box, radius=max(2, label.size // 4), fill=fill)
        center = (label.x + label.width / 2, label.y + label.height / 2)
        draw_centered(drawing, center, label.text, label.size, (255, 255, 255))
    return np.asarray(canvas)


def draw_centered(
    drawing: PIL.ImageDraw.ImageDraw,
    center: tuple[float, float],
    text: str,
    size: int,
    color: Color,
) -> None:
    """Writes a text whose box (of `text_size`) has its center at (x, y)."""
    left, _, right, _ = font(size).getbbox(text)
    _, top, _, bottom = font(size).getbbox("Ag")
    position = (center[0] - (left + right) / 2, center[1] - (top + bottom) / 2)
    drawing.text(position, text, fill=color, font=font(size))


def _sizes(largest: int) -> list[int]:
    """Returns the font sizes to try, largest first."""
    steps = [round(largest * 0.85**step) for step in range(12)]
    return sorted({max(size, _SMALLEST) for size in steps}, reverse=True)


def _corners(total: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """Finds the corners of which a box is inside the segment, or None where it is too large.

    Args:
      total: [h+1, w+1] number of the segment's pixels above and to the left.
      width: of the box.
      height: of the box.

    Returns:
      [h - height + 1, w - width + 1] bool.
    """
    if total.shape[0] <= height or total.shape[1] <= width:
        return None
    inside = total[height:, width:] - total[:-height, width:]
    inside += total[:-height, :-width] - total[height:, :-width]
    return inside == width * height


def _depth(mask: np.ndarray) -> np.ndarray:
    """Returns [h, w]: about how far each pixel of a mask is from its edge."""
    # Of every few rows and columns: a place needn't be the best to the pixel.
    step = max(1, max(mask.shape) // _DEPTH_SIDE)
    depth = scipy.ndimage.distance_transform_edt(mask[::step, ::step])
    return depth.repeat(step, axis=0).repeat(step, axis=1)[: mask.shape[0], : mask.shape[1]]


def _deepest(fits: np.ndarray, depth: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Chooses the (row, column) of the corner whose box has its center as deep as can be."""
    rows, columns = fits.shape
    center = depth[height // 2 :, width // 2 :][:rows, :columns]
    row, column = np.unravel_index(np.where(fits, center, -1.0).argmax(), fits.shape)
    return int(row), int(column)
