"""Strict readers of a JSON entry's fields: one meaning a field, or a sentence that says why not.

A value of another type is never reshaped into the expected one, since what JSON's writers meant by
`"iscrowd": "0"` or `"area": NaN` can only be guessed, and a wrong guess changes results silently.
"""

from __future__ import annotations

import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Union

from kmax_tf.errors import UserError

# COCO has numbers; other publishers of the format have names.
ImageId = Union[int, str]

_COLOR = re.compile("#?[0-9a-fA-F]{6}")
_LONGEST = 60  # of a value that an error shows


class FieldError(UserError):
    """Says which field of an entry is wrong, and what it must be."""


def require_object(entry: Any) -> Mapping[str, Any]:
    """Returns an entry, unless it is no JSON object."""
    if not isinstance(entry, dict):
        raise FieldError(f"it must be an object with named fields, not {show(entry)}")
    return entry


def required(entry: Mapping[str, Any], key: str) -> Any:
    """Returns what must be there."""
    if key not in entry:
        raise FieldError(f"it has no '{key}'")
    return entry[key]


def whole(
    entry: Mapping[str, Any], key: str, least: int | None = None, most: int | None = None
) -> int:
    """Reads a whole number from least to most; 7.0, as some tools write it, is 7."""
    value = required(entry, key)
    number = _as_whole(value)
    if number is None:
        raise FieldError(f"{key} must be a whole number, not {show(value)}")
    if (least is not None and number < least) or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise FieldError(f"{key} must be {bounds}, not {show(value)}")
    return number


def finite(entry: Mapping[str, Any], key: str, least: float | None = None) -> float | None:
    """Reads a finite number; None where there is none, or null."""
    value = entry.get(key)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise FieldError(f"{key} must be a finite number, not {show(value)}")
    if least is not None and number < least:
        raise FieldError(f"{key} must be at least {least}, not {show(value)}")
    return number


def flag(entry: Mapping[str, Any], key: str) -> bool:
    """Reads 0 or 1 (or JSON's false or true)."""
    value = required(entry, key)
    if not isinstance(value, (int, float)) or value not in (0, 1):
        raise FieldError(f"{key} must be 0 or 1, not {show(value)}")
    return bool(value)


def text(entry: Mapping[str, Any], key: str) -> str:
    """Reads a text that isn't empty and that files can hold: JSON has halves of characters, too."""
    value = required(entry, key)
    if not isinstance(value, str) or not value.strip():
        raise FieldError(f"{key} must be a text, not {show(value)}")
    if not _is_encodable(value):
        raise FieldError(f"{key} has characters that no file can hold: {show(value)}")
    return value


def color(entry: Mapping[str, Any], key: str) -> tuple[int, int, int] | None:
    """Reads [red, green, blue] or #rrggbb; None where there is none, or null."""
    value = entry.get(key)
    found = as_color(value)
    if found is None and value is not None:
        raise FieldError(f"{key}: {show(value)} is no color such as #dc143c or [220, 20, 60]")
    return found


def file_name(entry: Mapping[str, Any], key: str = "file_name") -> str:
    """Reads a file's name: a path below a folder, with slashes, without parts such as "./"."""
    value = text(entry, key)
    path = pathlib.PurePosixPath(value)
    if "\\" in value:
        raise FieldError(f"{key} must have '/' between folders, not '\\': {show(value)}")
    if path.is_absolute() or not path.name or ".." in path.parts:
        raise FieldError(
            f"{key} must be a path inside its folder, neither absolute nor with '..': {show(value)}"
        )
    return path.as_posix()


def image_id(entry: Mapping[str, Any], key: str) -> ImageId:
    """Reads the id of an image: a whole number (139.0 is 139) or a name."""
    value = required(entry, key)
    if isinstance(value, str):
        return text(entry, key)
    number = _as_whole(value)
    if number is None or number.bit_length() > 63:
        raise FieldError(f"{key} must be a whole number of 64 bits or a name, not {show(value)}")
    return number


def as_color(value: Any) -> tuple[int, int, int] | None:
    """Returns the red, green and blue of #rrggbb or of three numbers; None of anything else."""
    if isinstance(value, str) and _COLOR.fullmatch(value):
        value = list(bytes.fromhex(value[-6:]))
    if not isinstance(value, list) or len(value) != 3:
        return None
    channels = [c for c in map(_as_whole, value) if c is not None and 0 <= c <= 255]
    return (channels[0], channels[1], channels[2]) if len(channels) == 3 else None


def as_number(image_id: ImageId) -> ImageId:
    """Returns the number that an id of digits means, as in "000000000139"; other ids stay."""
    if isinstance(image_id, str) and image_id.isascii() and image_id.isdecimal():
        return int(image_id) if len(image_id) < 20 else image_id
    return image_id


def show(value: Any) -> str:
    """Returns a value as JSON says it, shortened, for errors."""
    try:
        shown = json.dumps(value)
    except RecursionError:  # reading it needed a little less of the stack
        return "a value of many levels"
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def _as_whole(value: Any) -> int | None:
    """Returns a JSON number that is whole as an int, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return value
    return int(value) if math.isfinite(value) and value == int(value) else None


def _is_encodable(value: str) -> bool:
    try:
        return "\0" not in value and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False
