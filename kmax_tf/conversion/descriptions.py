"""Dataset descriptions of people's own class lists: COCO's categories, or a table's."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.errors import UserError
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError

# Above it, what a conversion adds to a description; a description that already has it loses it.
_SPLITS_MARK = "# What the conversion wrote; a checksum is the SHA-256 of the file NAME.sha256.\n"
_COLOR = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


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
                    class_name(fields.text(category, "name")),
                    fields.flag(category, "isthing"),
                    class_value(fields.whole(category, "id", 0, 2**31 - 1)),
                    color_of(category.get("color")),
                )
            )
        except (FieldError, ValueError) as error:
            raise UserError(
                f"categories[{number}] of {where} is no class with id, name and isthing: {error}; "
                f"{advice}"
            ) from error
    return distinct(entries, where)


def distinct(entries: list[ClassEntry], where: str) -> list[ClassEntry]:
    """Returns the classes; raises UserError for two of one name or value."""
    for what in ("name", "value"):
        values: list[Any] = [getattr(entry, what) for entry in entries]
        repeated = [value for index, value in enumerate(values) if value in values[:index]]
        if repeated:
            raise UserError(f"{where} has two classes of {what} {repeated[0]}; give each its own")
    return entries


def class_name(value: Any) -> str:
    """Checks the name of a class; raises ValueError."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is no name")
    return value.strip()


def class_value(value: Any) -> int:
    """Checks what a class is called in files; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError(f"{value!r} is no whole number from 0 on")
    return value


def color_of(value: Any) -> tuple[int, int, int] | None:
    """Reads #rrggbb or [red, green, blue]; None stays None. Raises ValueError."""
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
