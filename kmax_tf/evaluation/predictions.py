"""From the network's inputs and maps of a batch to those of its images, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kmax_tf.data.preprocessing import resize_image, resize_map, restore_map

_MAPS = ("panoptic", "semantic", "semantic_scores", "instance_scores")


class RawPrediction(NamedTuple):
    """One image of a batch, H x W: at its own size, or at that which the network saw.

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
        """Returns [H, W, 3] uint8: what the network saw, at the size of the maps."""
        return resize_image(self.fitted_image, self.truth.shape).numpy().astype(np.uint8)


def raw_predictions(
    images: tf.Tensor,
    maps: Mapping[str, tf.Tensor],
    raw: Mapping[str, tf.Tensor],
    resolution: str = "original",
) -> Iterator[RawPrediction]:
    """Yields the images of an evaluation batch, one after another.

    Args:
      images: [B, h, w, 3] network inputs.
      maps: [B, h, w] what post-processing returns, or some of it.
      raw: what the evaluation dataset says of the images (`data.builder.build_dataset`).
      resolution: "original": predictions are brought to the image's own size; "model": the truth
        to the size of the image in the network's input. Both by nearest neighbour.
    """
    for index in range(raw["raw_size"].shape[0]):
        raw_size, fitted_size = raw["raw_size"][index], raw["resized_size"][index]
        height, width = raw_size.numpy()
        truth = raw["panoptic"][index, :height, :width]
        size = raw_size
        if resolution == "model":
            truth, size = resize_map(truth, fitted_size), fitted_size
        yield RawPrediction(
            image_id=raw["image_id"][index].numpy().decode(),
            truth=truth.numpy(),
            prediction={
                name: restore_map(maps[name][index], fitted_size, size).numpy()
                for name in _MAPS
                if name in maps
            },
            fitted_image=images[index, : fitted_size[0], : fitted_size[1]],
        )
