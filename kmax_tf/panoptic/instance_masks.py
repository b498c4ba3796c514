"""Masks of COCO's instance annotations, polygons or run lengths, to the pixel as pycocotools'.

pycocotools trusts what it gets: a polygon of two points is a box to it, and damaged run lengths are
read from wherever memory has something. So all is checked first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError
from kmax_tf.wording import count_of

# pycocotools walks along edges: one of a million pixels would take minutes, and its numbers are of
# 32 bits. Polygons that people draw lie a few pixels outside at most.
_FARTHEST = 10
_LETTERS = range(48, 112)


def decode_mask(
    segmentation: Any, height: int, width: int, left_out: list[str] | None = None
) -> np.ndarray:
    """Returns the mask [H, W] bool of an instance.

    Polygons of an instance are united, as pycocotools does, so that a hole that is listed as a
    polygon of its own is filled.

    Args:
      segmentation: as the JSON has it: a list of polygons [x, y, x, y, ...], or run lengths
        {"size": [height, width], "counts": a list or a text}.
      height: of the image.
      width: of the image.
      left_out: gets a sentence for each polygon that has no area among others that have; None: it
        is an error.

    Raises:
      FieldError: it isn't such a mask, not of the image, or without a pixel in it.
    """
    from pycocotools import mask as rle_masks

    if isinstance(segmentation, dict):
        counts = _checked_counts(segmentation, height, width)
        code = rle_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    else:
        polygons = _checked_polygons(segmentation, height, width, left_out)
        code = rle_masks.merge(rle_masks.frPyObjects(polygons, height, width))
    mask: np.ndarray = rle_masks.decode(code).astype(bool)
    if not mask.any():
        raise FieldError(
            f"its mask has no pixel in the image of {width} x {height}: it lies outside, or is "
            "smaller than a pixel; correct or remove it"
        )
    return mask


def run_lengths(text: str) -> list[int]:
    """Returns the run lengths in COCO's compressed code.

    Raises:
      FieldError: it is damaged.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("utf-8"):
        if letter not in _LETTERS or shift > 60:
            raise FieldError("counts is no text that COCO's compressed run lengths can be")
        value |= (letter - 48 & 31) << shift
        shift += 5
        if letter - 48 & 32:
            continue
        if letter - 48 & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise FieldError("counts, compressed run lengths, end in the middle of a number")
    return counts


def _checked_counts(code: dict[str, Any], height: int, width: int) -> list[int]:
    size = code.get("size")
    if size != [height, width]:
        raise FieldError(
            f"its run lengths are of the size (height, width) {fields.show(size)}, but the image "
            f"has [{height}, {width}]; export them again, or scale the image back"
        )
    counts = code.get("counts")
    if isinstance(counts, str):
        counts = run_lengths(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise FieldError("counts must be run lengths: whole numbers from 0, or their code as text")
    if sum(counts) != height * width:
        raise FieldError(
            f"its run lengths count {count_of(sum(counts), 'pixel')}, but the image has "
            f"{height * width}; export them again"
        )
    return counts


def _checked_polygons(
    listed: Any, height: int, width: int, left_out: list[str] | None
) -> list[list[float]]:
    if not isinstance(listed, list) or not all(isinstance(polygon, list) for polygon in listed):
        raise FieldError(
            "segmentation must be a list of polygons, each a list x, y, x, y, ..., or run lengths "
            f"with size and counts, not {fields.show(listed)}"
        )
    polygons, flat = [], []
    for number, polygon in enumerate(listed):
        _check_numbers(polygon, number)
        points = len(polygon) // 2
        if points > 2:
            polygons.append(polygon)
        else:
            flat.append(f"polygon {number} has {count_of(points, 'point')}; it takes three")
    if not polygons:
        raise FieldError("; ".join(flat[:1]) or "segmentation is an empty list")
    if flat and left_out is None:
        raise FieldError(flat[0])
    if left_out is not None:
        left_out += flat
    _check_places(polygons, height, width)
    return polygons


def _check_numbers(polygon: Sequence[Any], number: int) -> None:
    """Raises FieldError unless it is pairs of finite numbers."""
    for value in polygon:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not -math.inf < value < math.inf:
            raise FieldError(
                f"polygon {number} has the coordinate {fields.show(value)}; it must be a finite "
                "number"
            )
    if len(polygon) % 2:
        raise FieldError(
            f"polygon {number} has {len(polygon)} numbers; x and y take an even number of them"
        )


def _check_places(polygons: Sequence[Sequence[float]], height: int, width: int) -> None:
    """Raises FieldError where coordinates can't be pixels of the image."""
    largest = max(abs(value) for polygon in polygons for value in polygon)
    if largest > _FARTHEST * max(height, width):
        raise FieldError(
            f"it has the coordinate {fields.show(largest)}, far outside the image of {width} x "
            f"{height}; coordinates are pixels of this image"
        )
    smallest = min(value for polygon in polygons for value in polygon)
    whole = all(value in (0, 1) for polygon in polygons for value in polygon)
    if smallest >= 0 and largest <= 1 and min(height, width) > 2 and not whole:
        raise FieldError(
            "its coordinates are all from 0 to 1, as shares of the image's size; COCO's are "
            "pixels: multiply x by the width and y by the height"
        )
