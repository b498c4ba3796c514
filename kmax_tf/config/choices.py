"""Names of alternatives, for code that knows no protos."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def choice_name(options: Message, field: str) -> str:
    """Returns what an option with a list of alternatives is set to, in lower case."""
    alternatives: Any = options.DESCRIPTOR.fields_by_name[field].enum_type
    name: str = alternatives.values_by_number[getattr(options, field)].name
    return name.lower()
