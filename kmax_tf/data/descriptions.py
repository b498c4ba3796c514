"""Dataset descriptions of people's own class lists: COCO's categories, or a table."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.data.sources import read_file
from kmax_tf.errors import UserError
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError

# Above it, what a conversion adds to a description; a description that already has it loses it.
_SPLITS_MARK = "# What the conversion wrote; a checksum is the SHA-256 of the file NAME.sha256.\n"
_COLOR = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_KINDS = {"thing": True, "stuff": False}


@dataclasses.dataclass(frozen=True)
class ClassEntry:
    """A class as its owner lists it.

    Attributes:
      name: of the class.
      thing: whether it is countable.
      value: what it is called in the owner's files: a category id, or a value of pixels.
      color: red, green, blue; None is any.
    """

    name: str
    thing: bool
    value: int
    color: tuple[int, int, int] | None = None


def description_text(name: str, entries: Sequence[ClassEntry], label_divisor: int) -> str:
    """Returns a dataset description: ids from 1 in the order of the list, 0 is unlabeled."""
    lines = [
        f"name: {_quoted(name)}",
        f"num_ids: {len(entries) + 1}  # with 0, the unlabeled",
        "ignore_label: 0",
        f"label_divisor: {label_divisor}",
    ]
    for class_id, entry in enumerate(entries, start=1):
        kind = "thing: true " if entry.thing else ""
        color = f"color: {list(entry.color)} " if entry.color else ""
        lines.append(
            f"classes {{ id: {class_id} original_id: {entry.value} name: {_quoted(entry.name)} "
            f"{kind}{color}}}"
        )
    return "\n".join(lines) + "\n"


def with_splits(description: str, splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Adds what was written of each split to a description.

    Args:
      description: its text.
      splits: content of report.json.
    """
    lines = [
        f"splits {{ name: {_quoted(name)} examples: {split['images']} shards: {split['shards']} "
        f"checksum: {_quoted(split['checksum'])} }}\n"
        for name, split in splits.items()
    ]
    text = description.partition(_SPLITS_MARK)[0].rstrip("\n") + "\n"
    return text + _SPLITS_MARK + "".join(lines)


def classes_of_categories(categories: Any, where: str) -> list[ClassEntry]:
    """Reads the list "categories" of a COCO panoptic JSON.

    Args:
      categories: the list: dicts of id, name, isthing and perhaps color.
      where: the file, for messages.

    Raises:
      UserError: it isn't such a list, or names or ids repeat.
    """
    advice = "mend it, or give --description"
    if not isinstance(categories, list) or not categories:
        raise UserError(f"{where} has no list 'categories' to take the classes from; {advice}")
    entries = []
    for number, category in enumerate(categories):
        try:
            fields.require_object(category)
            entries.append(
                ClassEntry(
                    _name(fields.text(category, "name")),
                    fields.flag(category, "isthing"),
                    fields.whole(category, "id", 0, 2**31 - 1),
                    _color_of(category.get("color")),
                )
            )
        except (FieldError, ValueError) as error:
            raise UserError(
                f"categories[{number}] of {where} is no class with id, name and isthing: {error}; "
                f"{advice}"
            ) from error
    return _distinct(entries, where)


def classes_of_table(path: str) -> list[ClassEntry]:
    """Reads a table of classes: comma-, semicolon- or tab-separated, with a head.

    Its columns, in any order: name; kind, "thing" or "stuff"; value, that of the class' pixels (the
    number of its row, from 1, unless given); color, such as #dc143c.

    Args:
      path: of the file.

    Raises:
      UserError: there is no such file, or a row that isn't a class.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read the list of classes {path}: {reason}; make one with the columns name and "
            "kind (thing or stuff), or give --classes"
        ) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    head = lines[0] if lines else ""
    delimiter = max(",;\t", key=head.count)
    columns = [column.strip().lower() for column in head.split(delimiter)]
    unknown = set(columns) - {"name", "kind", "value", "color"}
    if unknown or not {"name", "kind"} <= set(columns):
        raise UserError(
            f"{path} starts with the columns {', '.join(columns)}; they must be name, kind, and "
            "perhaps value and color"
        )
    entries = []
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=1):
        row = dict(zip(columns, (cell.strip() for cell in cells)))
        try:
            if row["kind"].lower() not in _KINDS:
                raise ValueError(f"kind must be thing or stuff, not {row['kind']!r}")
            value = int(row.get("value") or number)
            color = _color_of(row.get("color") or None)
            kind = _KINDS[row["kind"].lower()]
            entries.append(ClassEntry(_name(row["name"]), kind, _value(value), color))
        except (KeyError, ValueError) as error:
            missing = isinstance(error, KeyError)
            reason = f"{error} is missing" if missing else str(error)
            raise UserError(f"class {number} of {path}, {lines[number]!r}: {reason}") from error
    if not entries:
        raise UserError(f"{path} lists no classes below its head")
    return _distinct(entries, path)


def _distinct(entries: list[ClassEntry], where: str) -> list[ClassEntry]:
    for what in ("name", "value"):
        values: list[Any] = [getattr(entry, what) for entry in entries]
        repeated = [value for index, value in enumerate(values) if value in values[:index]]
        if repeated:
            raise UserError(f"{where} has two classes of {what} {repeated[0]}; give each its own")
    return entries


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is no name")
    return value.strip()


def _value(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError(f"{value!r} is no whole number from 0 on")
    return value


def _color_of(value: Any) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, str):
        match = _COLOR.fullmatch(value)
        value = [int(part, 16) for part in match.groups()] if match else value
    if not _is_color(value):
        raise ValueError(f"{value!r} is no color such as #dc143c or [220, 20, 60]")
    red, green, blue = value
    return red, green, blue


def _is_color(value: Any) -> bool:
    channels: Iterable[Any] = value if isinstance(value, (list, tuple)) else ()
    kept = [c for c in channels if type(c) is int and 0 <= c <= 255]
    return isinstance(value, (list, tuple)) and len(value) == len(kept) == 3


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
