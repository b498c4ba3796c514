"""Pictures of the worst and the best images, kept small while an evaluation runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from kmax_tf.evaluation.extremes import Extremes, RankedImage
from kmax_tf.files.images import encode_image
from kmax_tf.panoptic.fields import ImageId

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

_JPEG_QUALITY = 86
# Of a panel, in pixels: about what drawings need for names to be readable.
_SHORT_SIDE, _LONGEST_SIDE = 480, 1280


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image with its panels: (caption, JPEG) each."""

    ranked: RankedImage
    panels: list[tuple[str, bytes]]


class Gallery:
    """Keeps images while they are among the extremes: at most twelve, shrunk to panels."""

    def __init__(self, labels: LabelSpace, extremes: Extremes) -> None:
        self._label_space = labels
        self._extremes = extremes
        self._kept: dict[ImageId, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def keep(
        self,
        image_id: ImageId,
        image: np.ndarray,
        truth: np.ndarray,
        prediction: np.ndarray,
    ) -> None:
        """Keeps an image that is among the extremes, and drops those that no longer are.

        Args:
          image_id: unique.
          image: [H, W, 3] uint8.
          truth: [H, W] panoptic map.
          prediction: [H, W] panoptic map.
        """
        maps = (shrink_map(truth), shrink_map(prediction))
        self._kept[image_id] = (shrink_image(image), *maps)
        self._kept = {i: kept for i, kept in self._kept.items() if i in self._extremes}

    def pictures(self) -> dict[str, list[Picture]]:
        """Draws the worst and the best images, by the headings of a report."""
        return {
            heading: [
                Picture(image, draw_panels(*self._kept[image.image_id], self._label_space))
                for image in ranked
            ]
            for heading, ranked in self._extremes.by_heading().items()
        }


def draw_panels(
    image: np.ndarray | None, truth: np.ndarray, prediction: np.ndarray, labels: LabelSpace
) -> list[tuple[str, bytes]]:
    """Draws what a report shows of an image: (caption, JPEG) each.

    Args:
      image: [h, w, 3] uint8; None where it isn't at hand.
      truth: [h, w] panoptic map, of the same size (`shrink_map`, `shrink_image`).
      prediction: [h, w] panoptic map.
      labels: what their ids mean.
    """
    # SciPy, which figures need, takes as long to import as some images to count.
    from kmax_tf.figures import draw_errors, draw_panoptic, overlay

    canvas = np.full((*truth.shape, 3), 160, np.uint8) if image is None else image
    panels = [
        ("ground truth", draw_panoptic(canvas, truth, labels)),
        ("prediction", draw_panoptic(canvas, prediction, labels)),
        ("errors", draw_errors(canvas, truth, prediction, labels)),
    ]
    if image is not None:
        scale = overlay.scale_for(image.shape)
        panels.insert(0, ("image", overlay.enlarge_image(image, scale)))
    return [
        (caption, encode_image(pixels, "JPEG", quality=_JPEG_QUALITY)) for caption, pixels in panels
    ]


def shrink_map(values: np.ndarray) -> np.ndarray:
    """Takes pixels at even distances from a map [H, W], so that it isn't larger than a panel."""
    height, width = _panel_size(values.shape)
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(int)
    return values[rows[:, np.newaxis], columns]


def shrink_image(image: np.ndarray) -> np.ndarray:
    """Averages pixels of an image [H, W, 3], so that it isn't larger than a panel."""
    height, width = _panel_size(image.shape)
    smooth = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BOX)
    return np.asarray(smooth)


def _panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    shrink = min(1.0, _SHORT_SIDE / min(shape[:2]), _LONGEST_SIDE / max(shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in shape[:2])
    return height, width
