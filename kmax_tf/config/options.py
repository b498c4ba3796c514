"""From messages to the option classes of the parts that don't see protos: fields of one name."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from google.protobuf.message import Message

from kmax_tf.config.textproto import is_repeated

_Options = TypeVar("_Options")


def options_of(kind: type[_Options], *messages: Message, **others: Any) -> _Options:
    """Makes an option class of the fields of messages that have the names of its own.

    Enums become the names of their values, and lists become tuples.

    Args:
      kind: the dataclass.
      *messages: each field comes from the first that has it, set or by default.
      **others: fields that come from elsewhere, and those that are another value here.
    """
    values = dict(others)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.init and field.name not in values:
            values[field.name] = _value(field.name, messages)
    return kind(**values)


def fields_of(message: Message) -> dict[str, Any]:
    """Returns all fields of a message by name, for a constructor that has arguments for them."""
    descriptor: Any = message.DESCRIPTOR
    return {name: _value(name, (message,)) for name in descriptor.fields_by_name}


def enum_name(message: Message, name: str) -> str:
    """Returns the name of the value of an enum field."""
    return str(_value(name, (message,)))


def _value(name: str, messages: tuple[Message, ...]) -> Any:
    for message in messages:
        descriptor: Any = message.DESCRIPTOR
        if name in descriptor.fields_by_name:
            field, value = descriptor.fields_by_name[name], getattr(message, name)
            if is_repeated(field):
                return tuple(_named(field.enum_type, item) for item in value)
            return _named(field.enum_type, value)
    known = " or ".join(message.DESCRIPTOR.name for message in messages)
    raise TypeError(f"{known} has no field {name!r}; give it as an argument")


def _named(enum: Any, value: Any) -> Any:
    return value if enum is None else enum.values_by_number[value].name
