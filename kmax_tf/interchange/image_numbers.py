"""Ids of images as numbers, which most tools need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def numbers_of(images: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns a number for each image: its id where all ids are numbers, else 1, 2, 3, ..."""
    given = [image["id"] for image in images]
    if all(isinstance(number, int) for number in given) and len(set(given)) == len(given):
        return given
    return list(range(1, len(given) + 1))
