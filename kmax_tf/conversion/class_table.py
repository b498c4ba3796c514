"""A table of classes as people write it, in an editor or a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from kmax_tf.conversion.descriptions import class_name, distinct
from kmax_tf.conversion.mask_classes import MaskRules
from kmax_tf.errors import UserError
from kmax_tf.files.reading import read_file
from kmax_tf.panoptic.entries import CategoryEntry
from kmax_tf.panoptic.fields import as_color
from kmax_tf.wording import count_of

_COLUMNS = ("name", "kind", "value", "color")
_DELIMITERS = ",;\t"
_KINDS = {"thing": True, "stuff": False}
_UNLABELED = "unlabeled"
# What spreadsheets write on top for each other.
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_NUMBERS = re.compile(r"(?:rgb)?[(\[]?\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*[)\]]?")
_WHOLE = re.compile(r"(\d{1,12})(\.0*)?")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """The classes of a table, and what it says of pixels.

    Attributes:
      classes: in the table's order.
      numbered: no row gives a value, so that these are the numbers of the rows.
      unlabeled_values: of pixels that belong to no class.
      unlabeled_colors: of such pixels.
    """

    classes: list[CategoryEntry]
    numbered: bool
    unlabeled_values: tuple[int, ...]
    unlabeled_colors: tuple[Color, ...]

    @property
    def mask_rules(self) -> MaskRules:
        """Returns how pixels mean these classes."""
        return MaskRules(
            tuple(entry.name for entry in self.classes if entry.color),
            self.numbered,
            self.unlabeled_values,
            self.unlabeled_colors,
        )


def read_class_table(path: str) -> ClassTable:
    """Reads a table of classes: comma-, semicolon- or tab-separated, with a head.

    Its columns, in any order: name; kind, "thing", "stuff" or "unlabeled"; value, that of the
    class' pixels (the number of its row, from 1, unless given); color, such as #dc143c. A row of
    the kind "unlabeled" is no class, but says that its value and color mean nothing.

    Raises:
      UserError: there is no such file, or a row that isn't a class.
    """
    columns, rows = _cells(path)
    entries: list[CategoryEntry] = []
    unlabeled: list[tuple[int | None, Color | None]] = []
    given = 0
    for line, cells in rows:
        if len(cells) > len(columns):
            raise UserError(
                f"line {line} of {path} has {count_of(len(cells), 'cell')}, its head has "
                f"{len(columns)}; a color of several numbers needs quotes"
            )
        row = dict(zip(columns, cells))
        value = _parsed(_value, row, "value", path, line)
        color = _parsed(_color, row, "color", path, line)
        kind = row.get("kind", "").lower()
        if kind == _UNLABELED:
            unlabeled.append((value, color))
            continue
        if kind not in _KINDS:
            raise UserError(
                f"line {line} of {path}: kind must be thing or stuff (or unlabeled, of pixels that "
                f"mean nothing), not {row.get('kind', '')!r}"
            )
        given += value is not None
        value = len(entries) + 1 if value is None else value
        name = _parsed(class_name, row, "name", path, line, empty=True)
        entries.append(CategoryEntry(value, str(name), _KINDS[kind], color))
    if not entries:
        raise UserError(f"{path} lists no classes below its head")
    table = ClassTable(
        distinct(entries, path),
        not given,
        tuple(value for value, _ in unlabeled if value is not None),
        tuple(color for _, color in unlabeled if color is not None),
    )
    _check_meanings(table, path)
    return table


def _cells(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the names of the columns, and for each row its line's number and its cells."""
    lines = [(n, line) for n, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    delimiters: Sequence[str] = _DELIMITERS
    separator = _SEPARATOR.fullmatch(lines[0][1].strip()) if lines else None
    if separator:
        delimiters = separator[1]
        lines = lines[1:]
    # A row may begin with a color, but a head doesn't.
    while lines and lines[0][1].lstrip().startswith("#"):
        lines = lines[1:]
    heads = [(d, _split(lines[0][1], d)) for d in delimiters] if lines else []
    delimiter, head = max(heads, key=lambda item: len(item[1]), default=(",", []))
    columns = [cell.lower() for cell in head]
    while columns and not columns[-1]:
        columns.pop()  # spreadsheets end each line as the longest
    if not columns:
        raise UserError(f"{path} is empty; it must have the columns name and kind (thing or stuff)")
    if not {"name", "kind"} <= set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        raise UserError(
            f"{path} starts with the columns {', '.join(columns)}; they must be name, kind, and "
            "perhaps value and color"
        )
    rows = []
    for number, line in lines[1:]:
        comment = line.lstrip().startswith("#") and columns[0] != "color"
        cells = [] if comment else _split(line, delimiter)
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        if any(cells):
            rows.append((number, cells))
    return columns, rows


def _text(path: str) -> str:
    advice = "make one with the columns name and kind (thing or stuff), or give --classes"
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the list of classes {path}: {reason}; {advice}") from error
    try:
        return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the list of classes {path} isn't UTF-8 ({error.reason} at byte {error.start}); save "
            "it as CSV UTF-8"
        ) from error


def _split(line: str, delimiter: str) -> list[str]:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    except csv.Error:  # no text
        cells = [line]
    # As files' names are compared with those of classes.
    return [unicodedata.normalize("NFC", cell.strip()) for cell in cells]


def _parsed(
    parse: Callable[[str], object],
    row: dict[str, str],
    column: str,
    path: str,
    line: int,
    empty: bool = False,
) -> Any:
    """Returns what a cell says; None where it is empty."""
    cell = row.get(column, "")
    if not cell and not empty:
        return None
    try:
        return parse(cell)
    except ValueError as error:
        raise UserError(f"line {line} of {path}, column {column}: {error}") from error


def _value(cell: str) -> int:
    match = _WHOLE.fullmatch(cell)  # spreadsheets write 1.0
    if match is None or int(match[1]) >= 2**31:
        raise ValueError(f"{cell!r} is no whole number from 0 to 2147483647")
    return int(match[1])


def _color(cell: str) -> Color:
    numbers = _NUMBERS.fullmatch(cell)
    color = as_color([int(number) for number in numbers.groups()] if numbers else cell)
    if color is None:
        raise ValueError(f"{cell!r} is no color such as #dc143c or [220, 20, 60]")
    return color


def _check_meanings(table: ClassTable, path: str) -> None:
    """Refuses values and colors that mean two classes, or a class and none."""
    classes = [(entry.id, entry.color, entry.name) for entry in table.classes]
    values = [(value, name) for value, _, name in classes]
    colors = [(color, name) for _, color, name in classes if color is not None]
    values += [(value, _UNLABELED) for value in table.unlabeled_values]
    colors += [(color, _UNLABELED) for color in table.unlabeled_colors]
    for what, meanings in (("value", values), ("color", colors)):
        seen: dict[object, str] = {}
        for meaning, name in meanings:
            other = seen.setdefault(meaning, name)
            if other != name:
                raise UserError(
                    f"{path}: {other} and {name} have the same {what}, {meaning}; give each its own"
                )
