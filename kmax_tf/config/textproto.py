"""Reading of textprotos that remembers where each value was set.

The parser of the protobuf package knows lines only when it fails; here, where its tokens are taken
from it, every value keeps its origin ("file:line", or the override), so that a problem found much
later can still be traced to it.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kmax_tf.errors import ConfigError

# Path of a field, such as "model.pixel_decoder.stages[1].filters" -> where it was set.
Origins = dict[str, str]

_CLOSING = {"{": "}", "<": ">"}
_BRACKETS = {**_CLOSING, "[": "]"}
# A number, a name or a string, from its first character to its last.
_VALUE = re.compile(r"""[\w.+-]+|(["']).*\1""")
_NUMBERS = ("a number", "an integer")
# What a kind of field wants, and what takes it from the text; the others are integers.
_INTEGER = ("an integer", text_format.Tokenizer.ConsumeInteger)
_SCALARS = {
    FieldDescriptor.TYPE_BOOL: ("true or false", text_format.Tokenizer.ConsumeBool),
    FieldDescriptor.TYPE_FLOAT: ("a number", text_format.Tokenizer.ConsumeFloat),
    FieldDescriptor.TYPE_DOUBLE: ("a number", text_format.Tokenizer.ConsumeFloat),
    FieldDescriptor.TYPE_STRING: ("UTF-8 text in quotes", text_format.Tokenizer.ConsumeString),
    FieldDescriptor.TYPE_BYTES: ("bytes in quotes", text_format.Tokenizer.ConsumeByteString),
}


def merge_text(
    text: str,
    where: Callable[[int], str],
    message: Message,
    origins: Origins,
    prefix: str = "",
    errors: list[str] | None = None,
) -> None:
    """Applies a textproto to a message.

    Single fields and sub-messages merge; a repeated field replaces what the message had; a member
    of a oneof clears the others.

    Args:
      text: the textproto.
      where: names the place of a line of the text, in errors and origins ("file:line").
      message: what is changed.
      origins: where each field was set; updated.
      prefix: path of `message` in `origins`. Empty: it is the outermost one.
      errors: gets, with their places, unknown fields and values that don't fit, which are then
        left out. None: the first is raised.

    Raises:
      ConfigError: the text is malformed, or does not fit the message's type.
    """
    _Parser(text, where, origins, errors).merge_into(message, prefix)


def find_field(message: Message, name: str, where: str) -> FieldDescriptor:
    """Returns a field of a message by name; an unknown one is a ConfigError with the nearest."""
    descriptor: Any = message.DESCRIPTOR
    try:
        return descriptor.fields_by_name[name]
    except KeyError:
        known = [field.name for field in descriptor.fields]
        raise ConfigError(
            f"{where}: {descriptor.name} has no field '{name}'; {nearest(name, known)}"
        ) from None


def is_repeated(field: FieldDescriptor) -> bool:
    """Returns whether a field holds a list; newer protobuf releases have dropped `label`."""
    descriptor: Any = field
    if hasattr(descriptor, "is_repeated"):
        return bool(descriptor.is_repeated)
    return bool(descriptor.label == FieldDescriptor.LABEL_REPEATED)


def join(prefix: str, name: str) -> str:
    """Returns the path of a field in the message at `prefix` (empty: the outermost one)."""
    return f"{prefix}.{name}" if prefix else name


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns a hint: the known name that is most like `name`, or else all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def located(where: str, path: str, text: str) -> str:
    """Returns "where: path: text", saying the path once where the place (an override) names it."""
    if where.endswith(f" {path}"):
        return f"{where}: {text}"
    return f"{where}: {path}: {text}" if where else f"{path}: {text}"


class _Parser:
    """Applies one text to one message, by recursive descent.

    Args:
      text: a textproto.
      where: gives the place, for people, of a line of the text.
      origins: updated with the place of each field.
      errors: as in `merge_text`.
    """

    def __init__(
        self, text: str, where: Callable[[int], str], origins: Origins, errors: list[str] | None
    ) -> None:
        self._where = where
        self._origins = origins
        self._errors = errors
        self._tokens = text_format.Tokenizer(text.split("\n"))

    def merge_into(self, message: Message, prefix: str, closing: str = "") -> None:
        """Parses fields up to a closing bracket, or to the end of the text."""
        seen: dict[str, int] = {}
        while self._tokens.token != closing:
            line, name = self._line(), self._tokens.token
            if not re.match(r"[A-Za-z_]", name):
                self._expected(f"a field name or '{closing}'" if closing else "a field name")
            self._tokens.NextToken()
            try:
                field = find_field(message, name, self._where(line))
            except ConfigError as error:
                self._collect(error)
                self._skip_value()
            else:
                path = join(prefix, field.name)
                self._note_first_mention(message, field, path, line, seen)
                self._field(message, field, path)
            if self._tokens.token in (",", ";"):
                self._tokens.NextToken()
        self._tokens.NextToken()

    def _note_first_mention(
        self, message: Message, field: FieldDescriptor, path: str, line: int, seen: dict[str, int]
    ) -> None:
        group = field.containing_oneof.name if field.containing_oneof else field.name
        if is_repeated(field):
            if group not in seen:
                message.ClearField(field.name)
                for old in [key for key in self._origins if key.startswith(f"{path}[")]:
                    del self._origins[old]
        elif group in seen:
            what = field.name if group == field.name else f"one of the fields of '{group}'"
            self._collect(
                self._error(line, f"{what} was already given in line {seen[group]}", path)
            )
        if group not in seen:
            self._origins[path] = self._where(line)
        seen.setdefault(group, line)

    def _field(self, message: Message, field: FieldDescriptor, path: str) -> None:
        if not self._tokens.TryConsume(":") and field.message_type is None:
            self._expected("':'", path)
        if not (is_repeated(field) and self._tokens.TryConsume("[")):
            self._value(message, field, path)
            return
        while not self._tokens.TryConsume("]"):
            self._value(message, field, path)
            if not self._tokens.TryConsume(",") and self._tokens.token != "]":
                self._expected("',' or ']'", path)

    def _value(self, message: Message, field: FieldDescriptor, path: str) -> None:
        if is_repeated(field):
            path = f"{path}[{len(getattr(message, field.name))}]"
            self._origins[path] = self._where(self._line())
        if field.message_type is None:
            place, token = self._place(), self._tokens.token
            try:
                self._scalar(message, field, path)
            except ConfigError as error:
                if not _VALUE.fullmatch(token):  # where it ends isn't known
                    raise
                self._collect(error)
                if self._place() == place:
                    self._tokens.NextToken()
            return
        opening = self._tokens.token
        if opening not in _CLOSING:
            self._expected(f"'{{' and the fields of {field.message_type.name}", path)
        self._tokens.NextToken()
        child = getattr(message, field.name)
        child = child.add() if is_repeated(field) else child
        child.SetInParent()
        self.merge_into(child, path, _CLOSING[opening])

    def _scalar(self, message: Message, field: FieldDescriptor, path: str) -> None:
        line, token = self._line(), self._tokens.token
        if field.enum_type is not None:
            value: Any = self._enum_number(field.enum_type, path)
        else:
            wanted, consume = _SCALARS.get(field.type, _INTEGER)
            try:
                if wanted in _NUMBERS and "_" in token:  # Python's numbers have them
                    raise text_format.ParseError
                value = consume(self._tokens)
            except text_format.ParseError:
                raise self._error(line, f"expected {wanted}, found {_shown(token)}", path) from None
        try:
            if isinstance(value, float) and math.isinf(value) and "inf" not in token.lower():
                raise OverflowError
            if field.type == FieldDescriptor.TYPE_FLOAT:
                struct.pack("<f", value)
            if is_repeated(field):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        except (OverflowError, ValueError):
            types: Any = descriptor_pb2.FieldDescriptorProto.Type
            kind = types.Name(field.type)[len("TYPE_") :].lower()
            raise self._error(line, f"{token} does not fit {kind}", path) from None

    def _enum_number(self, enum: Any, path: str) -> int:
        token = self._tokens.token
        if token not in enum.values_by_name:
            known = [value.name for value in enum.values]
            problem = f"{_shown(token)} is not a {enum.name} ({', '.join(known)})"
            raise self._error(self._line(), f"{problem}; {nearest(token.upper(), known)}", path)
        self._tokens.NextToken()
        return int(enum.values_by_name[token].number)

    def _skip_value(self) -> None:
        """Passes over the value of an unknown field."""
        self._tokens.TryConsume(":")
        closing: list[str] = []
        while True:
            token = self._tokens.token
            if token in _BRACKETS:
                closing.append(_BRACKETS[token])
            elif closing and token == closing[-1]:
                closing.pop()
            elif not token or not (closing or _VALUE.fullmatch(token)):
                self._expected("a value")
            self._tokens.NextToken()
            if not closing:
                break
        while self._tokens.token[:1] in ("'", '"'):  # one string, in parts
            self._tokens.NextToken()

    def _line(self) -> int:
        """Returns the line of the token that comes next."""
        return self._place()[0]

    def _place(self) -> tuple[int, int]:
        """Returns line and column of the token that comes next."""
        tokens: Any = self._tokens
        error = tokens.ParseError("")
        return error.GetLine(), error.GetColumn()

    def _expected(self, wanted: str, path: str = "") -> NoReturn:
        raise self._error(
            self._line(), f"expected {wanted}, found {_shown(self._tokens.token)}", path
        )

    def _collect(self, error: ConfigError) -> None:
        if self._errors is None:
            raise error
        self._errors.append(str(error))

    def _error(self, line: int, problem: str, path: str) -> ConfigError:
        where = self._where(line)
        return ConfigError(located(where, path, problem) if path else f"{where}: {problem}")


def _shown(token: str) -> str:
    return f"'{token.strip(chr(34))}'" if token else "the end"
