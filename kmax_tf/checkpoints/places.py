"""Where a variable of ours stands in a public checkpoint, and in which layout."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.model.kmax import KMaX

# Names of variables with a channel for each class.
CLASS_HEAD = re.compile(r".*class_head/dense/(kernel|bias)$")


class Place(NamedTuple):
    """A value of a public checkpoint.

    Attributes:
      key: its name there.
      shape: its shape there.
      axes: order in which its axes are ours, up to axes of length 1; None: as they are.
    """

    key: str
    shape: tuple[int, ...]
    axes: Optional[tuple[int, ...]] = None

    @property
    def channel_axis(self) -> int:
        """Returns which axis is our last one."""
        return len(self.shape) - 1 if self.axes is None else self.axes[-1]

    def with_channels(self, channels: int) -> tuple[int, ...]:
        """Returns the shape there if our last axis had that length."""
        axis = self.channel_axis
        return (*self.shape[:axis], channels, *self.shape[axis + 1 :])

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """Returns a value from there with our order of axes, as [-1, channels]."""
        channels = value.shape[self.channel_axis]
        ordered = value if self.axes is None else value.transpose(self.axes)
        return ordered.reshape(-1, channels)

    def from_ours(self, value: np.ndarray) -> np.ndarray:
        """Returns a value of ours as it stands there."""
        if self.axes is None:
            return value.reshape(self.shape)
        ordered = value.reshape([self.shape[axis] for axis in self.axes])
        return np.ascontiguousarray(ordered.transpose(np.argsort(self.axes)))


def variable_names(model: KMaX) -> dict[str, tf.Variable]:
    """Returns the variables of a model by name, such as "backbone/stem/conv/kernel"."""
    return {variable.name.split(":")[0]: variable for variable in model.variables}


def ordinals(names: Iterable[str], pattern: str, descending: bool = False) -> dict[str, int]:
    """Returns 1, 2 and so on for the numbers that a pattern finds in names, in their order."""
    found = {match[1] for name in names if (match := re.search(pattern, name))}
    return {text: i for i, text in enumerate(sorted(found, key=int, reverse=descending), start=1)}


def decoder_index(match: re.Match[str]) -> int:
    """Returns which of its kind a (part, stride) of the public pixel decoders is.

    Stages and norms count from stride 32, fusions from stride 16.
    """
    return 6 - int(match[2]).bit_length() - (match[1] == "fuse")
