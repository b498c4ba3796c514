"""Datumaro, which is an extra: imported where it is needed, without its noise."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.errors import UserError


def import_datumaro() -> Any:
    """Returns the library.

    Raises:
      UserError: it isn't installed, or can't be imported.
    """
    try:
        import datumaro
    except ImportError as error:
        raise UserError(
            f"Datumaro cannot be imported ({error}); pip install 'kmax-tf[datumaro]'"
        ) from error
    return datumaro


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings of Datumaro off the terminal: it has one for every annotation."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def shapes_of(annotations: Sequence[Any]) -> tuple[list[list[Any]], dict[str, int]]:
    """Sorts the annotations of an item.

    Those of a label and a group are one instance, as Datumaro has it; what has no group is its own.

    Returns:
      The instances, lowest first, each a list of masks and polygons; and how many others there
      are, by their kinds: boxes of instances aren't counted.
    """
    shapes: dict[Any, list[Any]] = {}
    others: list[tuple[Any, str]] = []
    for place, annotation in enumerate(annotations):
        kind = annotation.type.name
        group = getattr(annotation, "group", 0)
        key = (group, annotation.label) if group else place
        if kind == "ellipse":
            shapes.setdefault(key, []).append(_as_polygon(annotation))
        elif kind in ("mask", "polygon") and annotation.label is not None:
            shapes.setdefault(key, []).append(annotation)
        else:
            others.append((key, kind if kind not in ("mask", "polygon") else f"{kind} of no class"))
    counts: dict[str, int] = {}
    for key, kind in others:
        if kind not in ("bbox", "label", "caption") or (kind == "bbox" and key not in shapes):
            counts[kind] = counts.get(kind, 0) + 1
    return sorted(shapes.values(), key=lambda parts: _order(parts[0])), counts


def segmentation_of(parts: Sequence[Any], height: int, width: int) -> Any:
    """Returns an instance as COCO has it: polygons where it has nothing else, or run lengths.

    Raises:
      ValueError: a mask is of another size.
    """
    if all(part.type.name == "polygon" for part in parts):
        return [[float(value) for value in part.points] for part in parts]
    codes = [_code(part, height, width) for part in parts]
    code = rle_masks.merge(codes)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def mask_of(parts: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Returns the mask [H, W] bool of an instance; raises ValueError."""
    codes = [_code(part, height, width) for part in parts]
    found: np.ndarray = rle_masks.decode(rle_masks.merge(codes)).astype(bool)
    return found


def _code(part: Any, height: int, width: int) -> Any:
    if part.type.name == "polygon":
        points = [float(value) for value in part.points]
        return rle_masks.merge(rle_masks.frPyObjects([points], height, width))
    mask = np.asarray(part.image)
    if mask.shape != (height, width):
        raise ValueError(
            f"a mask is {mask.shape[1]} x {mask.shape[0]}, its image {width} x {height}"
        )
    return rle_masks.encode(np.asfortranarray(mask, np.uint8))


def _order(annotation: Any) -> int:
    return int(getattr(annotation, "z_order", 0))


def _as_polygon(ellipse: Any) -> Any:
    return import_datumaro().Polygon(
        ellipse.as_polygon(), label=ellipse.label, group=ellipse.group, z_order=ellipse.z_order
    )
