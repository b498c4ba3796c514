"""From the network's inputs and maps of a batch to those of its images, at their own sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kmax_tf.data.preprocessing import resize_image, restore_map

_MAPS = ("panoptic", "semantic", "semantic_scores", "instance_scores")


class RawPrediction(NamedTuple):
    """One image of a batch at its own size, H x W.

    Attributes:
      image_id: name of the image.
      truth: [H, W] int32 panoptic map.
      prediction: [H, W] maps by name.
      fitted_image: [h, w, 3] the image as the network saw it, without padding.
    """

    image_id: str
    truth: np.ndarray
    prediction: dict[str, np.ndarray]
    fitted_image: tf.Tensor

    def image(self) -> np.ndarray:
        """Returns [H, W, 3] uint8: what the network saw, at the image's own size."""
        return resize_image(self.fitted_image, self.truth.shape).numpy().astype(np.uint8)


def raw_predictions(
    images: tf.Tensor, maps: Mapping[str, tf.Tensor], raw: Mapping[str, tf.Tensor]
) -> Iterator[RawPrediction]:
    """Yields the images of an evaluation batch, one after another.

    Args:
      images: [B, h, w, 3] network inputs.
      maps: [B, h, w] what post-processing returns, or some of it.
      raw: what the evaluation dataset says of the images (`data.builder.build_dataset`).
    """
    for index in range(raw["raw_size"].shape[0]):
        raw_size, fitted_size = raw["raw_size"][index], raw["resized_size"][index]
        height, width = raw_size.numpy()
        yield RawPrediction(
            image_id=raw["image_id"][index].numpy().decode(),
            truth=raw["panoptic"][index, :height, :width].numpy(),
            prediction={
                name: restore_map(maps[name][index], fitted_size, raw_size).numpy()
                for name in _MAPS
                if name in maps
            },
            fitted_image=images[index, : fitted_size[0], : fitted_size[1]],
        )
