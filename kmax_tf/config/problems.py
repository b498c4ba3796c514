"""What is wrong with an experiment, all at once, each with where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from kmax_tf.config.textproto import Origins, located
from kmax_tf.wording import count_of


class Problem(NamedTuple):
    """Something wrong with an experiment: the path of a field, and a sentence."""

    path: str
    text: str


def unset(message: Message, path: str, *names: str) -> Iterator[Problem]:
    """Yields a problem for each field of a message at a path that isn't given, but must be."""
    for name in names:
        if not message.HasField(name):
            yield Problem(path, f"has no {name}; give it")


def report(
    found: Sequence[Problem], origins: Origins, name: str, errors: Sequence[str] = ()
) -> str:
    """Returns the message of all problems.

    Args:
      found: problems of what could be read.
      origins: where fields were set.
      name: of what the problems are in.
      errors: what could not be read, each with its place.
    """
    lines = list(errors)
    for problem in found:
        lines.append(located(origins.get(problem.path, ""), problem.path, problem.text))
    if len(lines) == 1:
        return lines[0]
    return "\n  ".join([f"{count_of(len(lines), 'problem')} in {name}:", *lines])
