"""The typed contract between packages: what targets, predictions and labels look like.

Axis letters: B batch, H height, W width, N cluster centers, K classes without void, D embedding,
M ground-truth segments (padded).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, TypedDict

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


class Targets(TypedDict):
    """Ground truth of a batch, at the resolution of the network's input.

    Segments are an integer map with a list of classes, not one mask each.

    Keys:
      semantic_map: [B, H, W] int32 dataset class ids; the ignore label where unlabeled. A crowd
        region keeps its class here but belongs to no segment.
      segment_map: [B, H, W] int32 index of each pixel's segment into segment_classes; -1 where a
        pixel belongs to none (unlabeled or crowd).
      segment_classes: [B, M] int32 class index in the network's order (`LabelSpace.classes`); -1
        pads. One entry a thing instance and one a stuff class.
      semantic_weights: [B, H, W] float32 weight of each pixel in the semantic loss.
    """

    semantic_map: tf.Tensor
    segment_map: tf.Tensor
    segment_classes: tf.Tensor
    semantic_weights: tf.Tensor


class Predictions(TypedDict, total=False):
    """What the network says of a batch. h x w is the resolution of its finest pixel features.

    Keys:
      mask_logits: [B, h, w, N] float32.
      class_logits: [B, N, K+1] float32; the last is void ("no segment").
      pixel_embeddings: [B, h, w, D] float32.
      semantic_logits: [B, h', w', num_ids] float32, where the model has a semantic branch.
      class_maps: [B, h, w, K] float32 class probabilities of pixels, of averaged predictions
        (`postprocessing.views`).
      intermediate: one prediction (the first three keys) a kMaX block, in training; each at the
        resolution of the features that the block reads.
    """

    mask_logits: tf.Tensor
    class_logits: tf.Tensor
    pixel_embeddings: tf.Tensor
    semantic_logits: tf.Tensor
    class_maps: tf.Tensor
    intermediate: list[Predictions]


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
