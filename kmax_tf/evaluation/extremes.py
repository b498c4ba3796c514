"""The worst and the best images of a set, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kmax_tf.evaluation.panoptic_quality import ImageQuality
from kmax_tf.panoptic.fields import ImageId


class RankedImage(NamedTuple):
    """An image and what was counted of it."""

    image_id: ImageId
    quality: ImageQuality


class Extremes:
    """Keeps the images of lowest and of highest panoptic quality.

    Which ones doesn't depend on the order of the images: of equals, those with more errors are the
    worse, and those with more matches the better; then ids decide.

    Args:
      count: how many of either kind to keep.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._worst: list[RankedImage] = []
        self._best: list[RankedImage] = []

    def offer(self, image_id: ImageId, quality: ImageQuality) -> None:
        """Takes an image, unless it has no segments."""
        if quality.tp + quality.fp + quality.fn:
            self._take([RankedImage(image_id, quality)], [RankedImage(image_id, quality)])

    def worst(self) -> list[RankedImage]:
        """Returns the worst images, the worst first; none that is among the best, too."""
        best = {_identity(image) for image in self.best()}
        return [image for image in self._worst if _identity(image) not in best]

    def best(self) -> list[RankedImage]:
        """Returns the best images, the best first; of a small set, its better half."""
        distinct = {_identity(image) for image in (*self._worst, *self._best)}
        return self._best[: max(1, len(distinct) // 2)]

    def __contains__(self, image_id: ImageId) -> bool:
        """Returns whether an image is kept."""
        return any(image.image_id == image_id for image in (*self._worst, *self._best))

    def by_heading(self) -> dict[str, list[RankedImage]]:
        """Returns the worst and the best images, by the headings of a report."""
        return {"Worst images": self.worst(), "Best images": self.best()}

    def state(self) -> dict[str, list[RankedImage]]:
        """Returns the images kept."""
        return {"worst": self._worst, "best": self._best}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Adds the images of another one: `RankedImage`s, or lists of their fields."""
        self._take(
            *(
                [RankedImage(image_id, ImageQuality(*quality)) for image_id, quality in state[kind]]
                for kind in ("worst", "best")
            )
        )

    def _take(self, worst: list[RankedImage], best: list[RankedImage]) -> None:
        self._worst = sorted([*self._worst, *worst], key=_badness)[: self._count]
        self._best = sorted([*self._best, *best], key=_goodness)[: self._count]


def _badness(image: RankedImage) -> tuple[Any, ...]:
    quality = image.quality
    return quality.pq, -(quality.fp + quality.fn), *_identity(image)


def _goodness(image: RankedImage) -> tuple[Any, ...]:
    return -image.quality.pq, -image.quality.tp, *_identity(image)


def _identity(image: RankedImage) -> tuple[str, str]:
    return str(image.image_id), type(image.image_id).__name__
