"""What the ids of a dataset mean."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Category:
    """A class of a dataset."""

    id: int
    name: str
    thing: bool
    color: tuple[int, int, int]
    original_id: int


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """What the ids of a dataset mean.

    Attributes:
      classes: the K classes in the network's order: things, then stuff by increasing id.
      num_ids: number of semantic ids (channels of the semantic branch).
      ignore_label: semantic id of unlabeled pixels.
      label_divisor: panoptic id = class id * label_divisor + instance.
      name: of the dataset.
    """

    classes: tuple[Category, ...]
    num_ids: int
    ignore_label: int
    label_divisor: int
    name: str = ""

    @property
    def num_classes(self) -> int:
        """Returns K, the number of classes without void."""
        return len(self.classes)

    @property
    def num_things(self) -> int:
        """Returns how many of the first classes are things."""
        return sum(category.thing for category in self.classes)

    @property
    def void_panoptic_id(self) -> int:
        """Returns the panoptic id of pixels without a segment."""
        return self.ignore_label * self.label_divisor

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Returns [K] int32: dataset id of each class index."""
        return np.array([category.id for category in self.classes], np.int32)

    @functools.cached_property
    def is_thing(self) -> np.ndarray:
        """Returns [K] bool: whether a class index is a thing."""
        return np.array([category.thing for category in self.classes], bool)

    @functools.cached_property
    def class_index_of_id(self) -> np.ndarray:
        """Returns [max id + 1] int32: class index of each dataset id, -1 where there is none."""
        table = np.full(max(self.ids.max(), self.ignore_label, self.num_ids - 1) + 1, -1, np.int32)
        table[self.ids] = np.arange(self.num_classes)
        return table
