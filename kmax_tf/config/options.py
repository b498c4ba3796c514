"""From messages to the option classes of the parts that don't see protos: fields of one name."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from google.protobuf.message import Message

from kmax_tf.config.textproto import is_repeated

_Options = TypeVar("_Options")


def options_of(kind: type[_Options], *messages: Message, **others: Any) -> _Options:
    """Makes an option class, or a layer, of the fields of messages that have its arguments' names.

    Enums become the names of their values, and lists become tuples.

    Args:
      kind: the class; an argument that has a default there is none of the protos'.
      *messages: each field comes from the first that has it, set or by default.
      **others: fields that come from elsewhere, and those that are another value here.
    """
    values = dict(others)
    _, *arguments = inspect.signature(kind.__init__).parameters.values()
    for argument in arguments:
        if argument.default is argument.empty and argument.name not in values:
            values[argument.name] = _value(argument.name, messages)
    return kind(**values)


def choice_name(message: Message, name: str) -> str:
    """Returns what a field with a list of alternatives is set to, in lower case."""
    return str(_value(name, (message,))).lower()


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
