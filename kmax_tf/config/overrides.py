"""Overrides of single fields from the command line: `--set path.to.field=value`."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kmax_tf.config.textproto import Origins, find_field, is_repeated, join, merge_text
from kmax_tf.errors import ConfigError

_STEP = re.compile(r"(?P<name>\w+)(?:\[(?P<index>\d+)\])?")


def merge_override(assignment: str, message: Message, origins: Origins) -> None:
    """Applies one "path.to.field=value" to a message.

    The path may go through elements of repeated messages: "model.pixel_decoder.stages[0].filters".
    The value is a number, a name of an enum, true or false, a string with or without quotes, a list
    (`a,b` or `[a, b]`), or a sub-message in braces.

    Args:
      assignment: the override, as given after --set.
      message: what is changed.
      origins: where each field of `message` was set; updated.

    Raises:
      ConfigError: no such field, or a value of another type.
    """
    path, equals, value = (part.strip() for part in assignment.partition("="))
    where = f"--set {path}"
    if not equals or not path:
        raise ConfigError(f"--set {assignment}: expected path.to.field=value")
    *parents, last = path.split(".")
    target, prefix = message, ""
    for step in parents:
        target, prefix = _enter(target, prefix, step, where)
    if last.endswith("]"):
        target, prefix = _enter(target, prefix, last, where)
        if not (value.startswith("{") and value.endswith("}")):
            raise ConfigError(f"{where}: expected {{fields of {target.DESCRIPTOR.name}}}")
        text = value[1:-1]
    else:
        field = find_field(target, last, where)
        text = f"{last}: {_literal(field, value)}"
    merge_text(text, lambda line: where, target, origins, prefix)


def _enter(message: Message, prefix: str, step: str, where: str) -> tuple[Any, str]:
    """Returns the sub-message that one step of an override's path leads to, and its path."""
    match = _STEP.fullmatch(step)
    if match is None:
        raise ConfigError(f"{where}: '{step}' is not a field name, with or without [index]")
    field = find_field(message, match["name"], where)
    if field.message_type is None:
        hint = "give the whole list" if match["index"] else "it has no fields"
        raise ConfigError(f"{where}: {field.name} is not a message; {hint}")
    child = getattr(message, field.name)
    if not is_repeated(field):
        if match["index"]:
            raise ConfigError(f"{where}: {field.name} is not a list; leave out [{match['index']}]")
        return child, join(prefix, field.name)
    if match["index"] is None or int(match["index"]) >= len(child):
        raise ConfigError(
            f"{where}: {field.name} is a list of {len(child)}; name one, from [0] on, or give the "
            f"whole list"
        )
    return child[int(match["index"])], join(prefix, step)


def _literal(field: FieldDescriptor, value: str) -> str:
    """Returns an override's value as the textproto syntax wants it."""
    is_string = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    if not is_repeated(field):
        return _quote(value) if is_string else value
    items = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if is_string:
        items = ", ".join(_quote(item) for item in _split(items))
    return f"[{items}]"


def _split(items: str) -> list[str]:
    """Returns the parts of `a, b, "c, d"` between the commas outside quotes."""
    parts = re.findall(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^,])+""", items)
    return [part.strip() for part in parts if part.strip()]


def _quote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
