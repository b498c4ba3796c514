"""Counts and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def count_of(count: int, noun: str) -> str:
    """Returns a count with its noun: "1 image", "2 images", "0 classes", "3 categories".

    Args:
      count: how many.
      noun: of one; what is said of it may stand before it, as in "predicted segment".
    """
    if count == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "tch", "sh")):
        return f"{count} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}s"


def some(values: Iterable[Any], most: int = 5) -> str:
    """Lists the first few of several values, and says how many more there are."""
    listed = list(values)
    shown = (str(value) if str(value).isprintable() else repr(value) for value in listed[:most])
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(shown) + more
