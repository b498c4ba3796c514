"""What public checkpoints call the variables of a backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Callable, NamedTuple, Union

# (pattern, replacement), as in re.sub.
Rule = tuple[str, Union[str, Callable[[re.Match[str]], str]]]


class PublicNames(NamedTuple):
    """Rules, each list in the order in which they are applied. None: there are no such checkpoints.

    Attributes:
      deeplab2: from our names ("backbone/stem/conv/kernel") to those of the public TensorFlow
        checkpoints, less what all parts of the model have in common.
      pytorch: the same of the public PyTorch checkpoints.
      keras: from "layer/weight" of keras.applications to our names.
    """

    deeplab2: tuple[Rule, ...] = ()
    pytorch: tuple[Rule, ...] = ()
    keras: tuple[Rule, ...] = ()


def renamed(name: str, rules: Iterable[Rule]) -> str:
    """Returns a name after all rules, one after another."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def stage_index(match: re.Match[str]) -> int:
    """Returns 0 where the first group of a match is stride 4, 1 where it is stride 8 and so on."""
    return int(match[1]).bit_length() - 3
