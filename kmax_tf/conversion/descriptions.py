"""Dataset descriptions of people's own class lists: COCO's categories, or a table's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmax_tf.errors import UserError
from kmax_tf.panoptic.coco_json import parse_categories, repeated
from kmax_tf.panoptic.entries import CategoryEntry, Segment
from kmax_tf.wording import some

# Above it, what a conversion adds to a description; a description that already has it loses it.
_SPLITS_MARK = "# What the conversion wrote; a checksum is the SHA-256 of the file NAME.sha256.\n"


def description_text(name: str, entries: Sequence[CategoryEntry], label_divisor: int) -> str:
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
            f"classes {{ id: {class_id} original_id: {entry.id} name: {_quoted(entry.name)} "
            f"{kind}{color}}}"
        )
    return "\n".join(lines) + "\n"


def with_splits(description: str, splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Adds what was written of each split, the content of report.json, to a description."""
    lines = [
        f"splits {{ name: {_quoted(name)} examples: {split['images']} shards: {split['shards']} "
        f"checksum: {_quoted(split['checksum'])} }}\n"
        for name, split in splits.items()
    ]
    text = description.partition(_SPLITS_MARK)[0].rstrip("\n") + "\n"
    return text + _SPLITS_MARK + "".join(lines)


def classes_of_categories(categories: Any, where: str) -> list[CategoryEntry]:
    """Reads the list "categories" of a COCO panoptic JSON: of id, name, isthing, perhaps color.

    Raises:
      UserError: it isn't such a list, or names or ids repeat.
    """
    advice = "correct it, or give --description"
    if not isinstance(categories, list) or not categories:
        raise UserError(f"{where} has no list 'categories' to take the classes from; {advice}")
    try:
        entries = parse_categories(categories, where)
        names = [class_name(entry.name) for entry in entries]
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error
    except ValueError as error:
        raise UserError(f"a category of {where}: {error}; {advice}") from error
    return distinct([dataclasses.replace(e, name=n) for e, n in zip(entries, names)], where)


def with_kinds(
    entries: Sequence[CategoryEntry],
    stuff: Sequence[str] | None,
    images: Iterable[Sequence[Segment]],
) -> list[CategoryEntry]:
    """Returns classes with the kinds that are asked for, or those of the file where they can be.

    Datumaro writes that nothing is a thing, whatever is. Where a file says so, and yet has several
    segments of a class in an image, all its classes are things.

    Args:
      entries: as the file has them.
      stuff: names of those that are stuff; None: not asked for.
      images: the segments of each image.

    Raises:
      UserError: `stuff` names no class.
    """
    names = {entry.name for entry in entries}
    unknown = sorted(set(stuff or ()) - names)
    if unknown:
        raise UserError(f"--stuff {unknown[0]} is no class; these are: {some(sorted(names))}")
    if stuff is not None:
        return [dataclasses.replace(entry, thing=entry.name not in stuff) for entry in entries]
    if any(entry.thing for entry in entries) or not any(
        repeated(segment.category_id for segment in segments) for segments in images
    ):
        return list(entries)
    return [dataclasses.replace(entry, thing=True) for entry in entries]


def distinct(entries: list[CategoryEntry], where: str) -> list[CategoryEntry]:
    """Returns the classes; raises UserError for two of one name or value."""
    names, values = ([getattr(entry, key) for entry in entries] for key in ("name", "id"))
    for what, given in (("name", names), ("value", values)):
        for twice in repeated(given):
            raise UserError(f"{where} has two classes of {what} {twice}; give each its own")
    return entries


def class_name(value: str) -> str:
    """Checks the name of a class; raises ValueError."""
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is no name")
    return value.strip()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
