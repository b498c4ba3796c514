"""Which values the numbers of an experiment may take, each on its own: what protos/ say of them.

What must hold between fields is in `kmax_tf.config.validation`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kmax_tf.config.problems import Problem
from kmax_tf.config.textproto import is_repeated, join
from kmax_tf.protos import ranges_pb2

# Bound -> whether a value keeps it, and how a message says so.
_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "at_least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "at_most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}


def range_of(field: FieldDescriptor) -> ranges_pb2.Range | None:
    """Returns the range that stands beside a field, or None."""
    options: Any = field.GetOptions()
    return options.Extensions[ranges_pb2.range] if options.HasExtension(ranges_pb2.range) else None


def holds(bounds: ranges_pb2.Range, value: float) -> bool:
    """Returns whether a value is in a range."""
    return all(_BOUNDS[field.name][0](value, bound) for field, bound in _given(bounds))


def out_of_range(message: Message, prefix: str = "") -> Iterator[Problem]:
    """Yields a problem for each number, at any depth, that is outside its range.

    Defaults are taken to be right: only fields that were set are looked at.

    Args:
      message: an experiment or a part of it.
      prefix: path of the message.
    """
    for field, value in message.ListFields():
        path = join(prefix, field.name)
        bounds = range_of(field)
        for place, item in _elements(path, value) if is_repeated(field) else [(path, value)]:
            if field.message_type is not None:
                yield from out_of_range(item, place)
            elif isinstance(item, float) and not math.isfinite(item):
                yield Problem(place, f"must be a finite number, not {item}")
            elif bounds is not None and not holds(bounds, item):
                yield Problem(place, f"must be {_text(bounds)}, not {item:g}")


def _elements(path: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for index, value in enumerate(values):
        yield f"{path}[{index}]", value


def _text(bounds: ranges_pb2.Range) -> str:
    if bounds.text:
        return bounds.text
    if bounds.HasField("at_least") and bounds.HasField("at_most"):
        return f"in {bounds.at_least:g}..{bounds.at_most:g}"
    return " and ".join(f"{_BOUNDS[field.name][1]} {bound:g}" for field, bound in _given(bounds))


def _given(bounds: ranges_pb2.Range) -> list[tuple[FieldDescriptor, float]]:
    return [(field, bound) for field, bound in bounds.ListFields() if field.name in _BOUNDS]
