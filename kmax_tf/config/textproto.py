"""Reading of textprotos that remembers where each value was set.

The parser of the protobuf package knows lines only when it fails; here every value keeps its origin
("file:line", or the override), so that a problem found much later can still be traced to it.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from google.protobuf import text_encoding
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kmax_tf.errors import ConfigError

# Path of a field, such as "model.pixel_decoder.stages[1].filters" -> where it was set.
Origins = dict[str, str]

_TOKEN = re.compile(
    r"""(?P<blank>[^\S\n]+ | \#[^\n]*)
      | (?P<newline>\n)
      | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
      | (?P<word>-?[\w.]+(?:(?<=[\d.][eE])[-+]\d+)?)
      | (?P<symbol>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_FLOAT_SUFFIX = re.compile(r"(?<=[\d.])[fF]$")
_CLOSING = {"{": "}", "<": ">"}
_BRACKETS = {**_CLOSING, "[": "]"}
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
# Bits, and whether one of them is the sign.
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (32, True),
    FieldDescriptor.CPPTYPE_INT64: (64, True),
    FieldDescriptor.CPPTYPE_UINT32: (32, False),
    FieldDescriptor.CPPTYPE_UINT64: (64, False),
}
_BOOLS = {"true": True, "True": True, "t": True, "1": True}
_BOOLS.update({"false": False, "False": False, "f": False, "0": False})


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


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
      errors: takes up, with their places, unknown fields and values that don't fit, which are then
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
        self._tokens = self._tokenize(text)
        self._next = next(self._tokens)

    def merge_into(self, message: Message, prefix: str) -> None:
        """Parses to the end of the text."""
        self._fields(message, prefix, "")

    def _tokenize(self, text: str) -> Iterator[_Token]:
        line, position = 1, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self._fail(line, f"unexpected {_excerpt(text[position:])}")
            kind, position = str(match.lastgroup), match.end()
            if kind == "newline":
                line += 1
            elif kind != "blank":
                yield _Token(kind, match.group(), line)
        yield _Token("end", "", line)

    def _fields(self, message: Message, prefix: str, closing: str) -> None:
        seen: dict[str, int] = {}
        while self._next.text != closing:
            token = self._take()
            if token.kind != "word":
                wanted = f"a field name or '{closing}'" if closing else "a field name"
                self._fail(token.line, f"expected {wanted}, found {_shown(token)}")
            try:
                field = find_field(message, token.text, self._where(token.line))
            except ConfigError as error:
                self._collect(error)
                self._skip_value()
            else:
                path = join(prefix, field.name)
                self._note_first_mention(message, field, path, token.line, seen)
                self._field(message, field, path)
            if self._next.text in (",", ";"):
                self._take()
        self._take()

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
        colon = self._next.text == ":"
        if colon:
            self._take()
        elif field.message_type is None:
            self._fail(self._next.line, f"expected ':', found {_shown(self._next)}", path)
        if self._next.text == "[" and is_repeated(field):
            self._take()
            while self._next.text != "]":
                self._value(message, field, path)
                if self._next.text == ",":
                    self._take()
                elif self._next.text != "]":
                    self._fail(
                        self._next.line, f"expected ',' or ']', found {_shown(self._next)}", path
                    )
            self._take()
        else:
            self._value(message, field, path)

    def _value(self, message: Message, field: FieldDescriptor, path: str) -> None:
        token = self._take()
        if is_repeated(field):
            path = f"{path}[{len(getattr(message, field.name))}]"
            self._origins[path] = self._where(token.line)
        if field.message_type is not None:
            if token.text not in _CLOSING:
                name = field.message_type.name
                self._fail(
                    token.line,
                    f"expected '{{' and the fields of {name}, found {_shown(token)}",
                    path,
                )
            child = getattr(message, field.name)
            child = child.add() if is_repeated(field) else child
            child.SetInParent()
            self._fields(child, path, _CLOSING[token.text])
            return
        try:
            value = _convert(field, token, self._strings_after(token))
            if is_repeated(field):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        except ValueError as error:
            if token.kind not in ("word", "string"):
                self._fail(token.line, f"{error}", path)
            self._collect(self._error(token.line, f"{error}", path))

    def _skip_value(self) -> None:
        """Passes over the value of an unknown field."""
        if self._next.text == ":":
            self._take()
        closing: list[str] = []
        while True:
            token = self._take()
            if token.kind == "symbol" and token.text in _BRACKETS:
                closing.append(_BRACKETS[token.text])
            elif closing and token.text == closing[-1]:
                closing.pop()
            elif token.kind == "end" or (token.kind == "symbol" and not closing):
                self._fail(token.line, f"expected a value, found {_shown(token)}")
            if not closing:
                break
        self._strings_after(token)

    def _strings_after(self, token: _Token) -> list[_Token]:
        # Adjacent strings are one string.
        more = []
        while token.kind == "string" and self._next.kind == "string":
            more.append(self._take())
        return more

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _fail(self, line: int, problem: str, path: str = "") -> NoReturn:
        raise self._error(line, problem, path)

    def _collect(self, error: ConfigError) -> None:
        if self._errors is None:
            raise error
        self._errors.append(str(error))

    def _error(self, line: int, problem: str, path: str) -> ConfigError:
        where = self._where(line)
        return ConfigError(located(where, path, problem) if path else f"{where}: {problem}")


def _convert(field: FieldDescriptor, token: _Token, more: list[_Token]) -> Any:
    """Returns the value of a token for a field; a ValueError says what was expected instead."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if token.kind != "string":
            raise ValueError(f"expected a string in quotes, found {_shown(token)}")
        value = b"".join(_unquote(part.text) for part in (token, *more))
        return value if field.type == FieldDescriptor.TYPE_BYTES else _decoded(value, token)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum_number(field.enum_type, token)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if token.kind != "word" or token.text not in _BOOLS:
            raise ValueError(f"expected true or false, found {_shown(token)}")
        return _BOOLS[token.text]
    return _float(kind, token) if kind in _FLOATS else _integer(kind, token)


def _integer(kind: int, token: _Token) -> int:
    try:
        if token.kind != "word" or "_" in token.text:
            raise ValueError
        value = int(token.text, 0)
    except ValueError:
        raise ValueError(f"expected an integer, found {_shown(token)}") from None
    bits, signed = _INTEGERS[kind]
    if not signed and value < 0:
        raise ValueError(f"{token.text} is below 0")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - signed):
        raise ValueError(f"{token.text} does not fit {bits} bits")
    return value


def _float(kind: int, token: _Token) -> float:
    text = _FLOAT_SUFFIX.sub("", token.text)
    try:
        if token.kind != "word" or "_" in text:
            raise ValueError
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number, found {_shown(token)}") from None
    bits = 32 if kind == FieldDescriptor.CPPTYPE_FLOAT else 64
    try:
        struct.pack("<f" if bits == 32 else "<d", value)
        fits = not math.isinf(value) or "inf" in text.lower()
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError(f"{token.text} does not fit a float of {bits} bits")
    return value


def _enum_number(enum: Any, token: _Token) -> int:
    if token.text not in enum.values_by_name:
        known = [value.name for value in enum.values]
        raise ValueError(
            f"{_shown(token)} is not a {enum.name} ({', '.join(known)}); "
            f"{nearest(token.text.upper(), known)}"
        )
    return int(enum.values_by_name[token.text].number)


def _unquote(literal: str) -> bytes:
    """Returns what a string in quotes says, where escapes stand for bytes."""
    try:
        unescaped: bytes = text_encoding.CUnescape(literal[1:-1])
        return unescaped
    except UnicodeDecodeError:
        raise ValueError(f"{literal} has an escape that says nothing") from None


def _decoded(value: bytes, token: _Token) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{token.text} is not UTF-8") from None


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else f"'{token.text.strip(chr(34))}'"


def _excerpt(text: str) -> str:
    return repr(text.split("\n", 1)[0][:20])
