"""From decoded examples to an element of training: all augmentation, in the published order.

The image is resized to the range, scaled, recolored, put into the crop, mirrored; a second example
goes the same way at its own scales, and segments of it are pasted.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Optional

import tensorflow as tf

from kmax_tf.data.augmentation import (
    Window,
    cut_image,
    cut_label,
    pad_to_crop,
    random_size,
    random_window,
)
from kmax_tf.data.color import ColorPolicy, random_color
from kmax_tf.data.copy_paste import (
    CopyPasteOptions,
    chosen_ids,
    padding_id,
    paste,
    room_for_pasting,
)
from kmax_tf.data.preprocessing import PADDING_VALUE, fit_size, resize_bytes, resize_image
from kmax_tf.data.targets import TargetOptions, make_targets
from kmax_tf.labels import LabelSpace
from kmax_tf.structures import Targets

Example = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class AugmentationOptions:
    """What is done to a training example.

    Attributes:
      crop_size: height, width of the network's input.
      min_size: the shorter side is scaled to it first; 0: as it is.
      max_size: then the longer side is scaled down to it; 0: as it is.
      min_scale, max_scale, scale_step: of the random scale.
      flip_probability: of the mirror image.
      color: changes of color; None: none.
      copy_paste: of a second example; None: none.
      compile: by XLA, what has fixed sizes.
    """

    crop_size: tuple[int, int]
    min_size: int
    max_size: int
    min_scale: float
    max_scale: float
    scale_step: float
    flip_probability: float
    color: Optional[ColorPolicy]
    copy_paste: Optional[CopyPasteOptions]
    compile: bool

    def scales(self, factor: float = 1.0) -> tuple[float, float, float]:
        """Returns the range of the random scale times a factor, and its step."""
        return self.min_scale * factor, self.max_scale * factor, self.scale_step


class _CroppedExample(NamedTuple):
    """An example in the crop, before it is mirrored.

    Attributes:
      image: [h, w, 3] uint8 or float32.
      label: [h, w] int32.
      window: what is seen, and where it lies in the crop.
      mirror: scalar bool.
    """

    image: tf.Tensor
    label: tf.Tensor
    window: Window
    mirror: tf.Tensor


class TrainingExample:
    """Makes elements of training, as functions of examples and a number alone."""

    def __init__(
        self, options: AugmentationOptions, targets: TargetOptions, labels: LabelSpace, seed: int
    ):
        self.options = options
        self.targets = targets
        self.labels = labels
        self.result_labels = room_for_pasting(labels) if options.copy_paste else labels
        self.seed = seed
        self._join = tf.function(_join, jit_compile=True) if options.compile else _join

    @property
    def num_examples(self) -> int:
        """Returns how many examples an element is made of."""
        return 2 if self.options.copy_paste else 1

    def __call__(
        self, number: tf.Tensor, examples: tuple[Example, ...]
    ) -> tuple[tf.Tensor, Targets]:
        """Makes an element.

        Args:
          number: scalar int64; makes seeds differ between examples and epochs.
          examples: one, or two where segments are pasted; dicts of image [H, W, 3] uint8 and
            panoptic [H, W] int32.

        Returns:
          [h, w, 3] float32 image 0..255, and targets without the batch axis.
        """
        image, label = self.augment(number, examples)
        return image, make_targets(label, self.result_labels, self.targets)

    def augment(
        self, number: tf.Tensor, examples: tuple[Example, ...]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does all but the targets: gives the image and [h, w] int32 ids of `result_labels`."""
        base = tf.random.experimental.stateless_fold_in(tf.constant([self.seed, 0]), number)
        seeds = tf.unstack(tf.random.experimental.stateless_split(base, 3))
        options, pasting = self.options, self.options.copy_paste
        view, _ = self._view(examples[0], seeds[0], options.scales(), self.labels.void_panoptic_id)
        if pasting is None:
            return self._join(view, self.labels)
        scales = options.scales(pasting.scale_factor)
        over, seen = self._view(examples[1], seeds[1], scales, padding_id(self.labels))
        is_padded = tf.reduce_any(over.window.size < options.crop_size)
        chosen = chosen_ids(seen, is_padded, seeds[2], self.labels, pasting)
        return self._join(view, self.labels, over, chosen)

    def _view(
        self, example: Example, seed: tf.Tensor, scales: tuple[float, float, float], padding: int
    ) -> tuple[_CroppedExample, tf.Tensor]:
        """Brings an example into the crop; returns also what is seen of its label."""
        options = self.options
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        label = example["panoptic"]
        fitted = fit_size(tf.shape(label), options.min_size, options.max_size)
        size = random_size(fitted, seeds[0], scales)
        window = random_window(size, seeds[1], options.crop_size)
        image = resize_image(resize_bytes(example["image"], fitted), size)
        if options.color is not None:
            image = random_color(tf.cast(image, tf.uint8), seeds[2], options.color)
        seen = cut_label(label, window, (fitted, size))
        view = _CroppedExample(
            image=cut_image(image, window, options.crop_size),
            label=pad_to_crop(seen, window, options.crop_size, padding),
            window=window,
            mirror=tf.random.stateless_uniform([], seeds[3]) < options.flip_probability,
        )
        return view, seen


def _join(
    view: _CroppedExample,
    labels: LabelSpace,
    over: Optional[_CroppedExample] = None,
    chosen: Optional[tf.Tensor] = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills the padding, mirrors and pastes: all passes over fixed sizes, which XLA makes one.

    Args:
      view: an example in the crop.
      labels: what its ids mean.
      over: another, segments of which are pasted.
      chosen: [num ids] bool, which.

    Returns:
      [h, w, 3] float32 image and [h, w] int32 panoptic ids.
    """
    image = tf.where(_inside(view), tf.cast(view.image, tf.float32), PADDING_VALUE)
    image, label = _mirrored(image, view.mirror), _mirrored(view.label, view.mirror)
    if over is None or chosen is None:
        return image, label
    above = _mirrored(over.image, over.mirror), _mirrored(over.label, over.mirror)
    return paste((image, label), above, chosen, labels)


def _mirrored(values: tf.Tensor, mirror: tf.Tensor) -> tf.Tensor:
    return tf.where(mirror, tf.reverse(values, [1]), values)


def _inside(view: _CroppedExample) -> tf.Tensor:
    """Returns [h, w, 1] bool, where the crop shows the image."""
    first, last = view.window.before, view.window.before + view.window.size
    rows, columns = (
        (tf.range(view.label.shape[axis]) >= first[axis])
        & (tf.range(view.label.shape[axis]) < last[axis])
        for axis in (0, 1)
    )
    return (rows[:, tf.newaxis] & columns)[..., tf.newaxis]
