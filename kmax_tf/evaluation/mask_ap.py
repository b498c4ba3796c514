"""Mask average precision of thing instances, by pycocotools, from panoptic maps."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kmax_tf.evaluation.segments import Segments, find_segments

if TYPE_CHECKING:
    from kmax_tf.structures import LabelSpace

ImageId = Union[int, str]

# In the order of COCOeval.stats.
STATISTICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


@dataclasses.dataclass(frozen=True)
class _Image:
    """What is kept of an image: its size and its instances as COCO annotations without ids."""

    height: int
    width: int
    truths: list[dict[str, Any]]
    detections: list[dict[str, Any]]


class MaskAP:
    """Collects instances of images as run-length codes.

    An instance is a segment of a thing class; in the truth, instance 0 is a crowd region. The score
    of a prediction is mean(semantic score) * mean(instance score) over its pixels. Neither the
    order of the images nor the numbering of instances matters: images are ordered by id, and
    instances of an image by score, then by their first pixel.
    """

    def __init__(self, label_space: LabelSpace) -> None:
        self._label_space = label_space
        self._images: dict[ImageId, _Image] = {}

    def update(
        self,
        image_id: ImageId,
        truth: np.ndarray,
        prediction: np.ndarray,
        semantic_scores: np.ndarray,
        instance_scores: np.ndarray,
    ) -> None:
        """Collects the instances of one image.

        Args:
          image_id: unique.
          truth: [H, W] integer panoptic map.
          prediction: [H, W] integer panoptic map.
          semantic_scores: [H, W] class confidence of each pixel's segment.
          instance_scores: [H, W] mask confidence of each pixel.

        Raises:
          ValueError: the maps differ in size or hold an id of no class, or the image was there.
        """
        maps = (truth, prediction, semantic_scores, instance_scores)
        if len({values.shape for values in maps}) != 1:
            raise ValueError(
                f"maps of image {image_id!r} differ in size: {[values.shape for values in maps]}"
            )
        if image_id in self._images:
            raise ValueError(f"image {image_id!r} is evaluated twice")
        true = find_segments(truth, self._label_space, "ground truth")
        predicted = find_segments(prediction, self._label_space, "prediction")
        scores = _segment_means(predicted, semantic_scores)
        scores = scores * _segment_means(predicted, instance_scores)
        self._images[image_id] = _Image(
            height=truth.shape[0],
            width=truth.shape[1],
            truths=self._annotations(true, None),
            detections=self._annotations(predicted, scores),
        )

    def merge(self, other: MaskAP) -> None:
        """Adds what another one has collected.

        Raises:
          ValueError: the other one is of another label space or has an image of this one.
        """
        if self._label_space != other._label_space:
            raise ValueError("mask APs of different label spaces can't be merged")
        twice = self._images.keys() & other._images.keys()
        if twice:
            raise ValueError(f"image {min(twice, key=str)!r} is evaluated twice")
        self._images.update(other._images)

    def result(self) -> dict[str, float]:
        """Evaluates everything collected so far.

        Returns:
          COCO's twelve statistics (`STATISTICS`) as shares (0..1). NaN where undefined: no true
          instance (of that size). Without any detection, zeros.
        """
        images = [self._images[image_id] for image_id in sorted(self._images, key=str)]
        if not images:
            return dict.fromkeys(STATISTICS, float("nan"))
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation = COCOeval(
                self._coco(images, [image.truths for image in images]),
                self._coco(images, [image.detections for image in images]),
                "segm",
            )
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = [float(value) if value >= 0 else float("nan") for value in evaluation.stats]
        return dict(zip(STATISTICS, values))

    def _annotations(self, segments: Segments, scores: np.ndarray | None) -> list[dict[str, Any]]:
        """Describes the instances of an image; those of the truth have no scores."""
        index = np.asfortranarray(segments.index)  # the order of run-length codes
        is_thing = np.append(self._label_space.is_thing, False)[segments.classes]
        found = []
        for segment in np.flatnonzero(is_thing):
            mask = index == segment
            annotation = {
                "category_id": int(self._label_space.ids[segments.classes[segment]]),
                "segmentation": rle_masks.encode(mask.view(np.uint8)),
                "area": int(segments.areas[segment]),
                "iscrowd": 0,
            }
            if scores is None:
                instance = segments.ids[segment] % self._label_space.label_divisor
                annotation["iscrowd"] = int(instance == 0)
            else:
                annotation["score"] = float(scores[segment])
            found.append((-annotation.get("score", 0.0), int(mask.ravel().argmax()), annotation))
        return [annotation for _, _, annotation in sorted(found, key=lambda entry: entry[:2])]

    def _coco(self, images: list[_Image], annotations: list[list[dict[str, Any]]]) -> COCO:
        """Indexes annotations (a list an image) in the form that COCOeval reads."""
        coco = COCO()
        coco.dataset = {
            "images": [
                {"id": number, "height": image.height, "width": image.width}
                for number, image in enumerate(images)
            ],
            "categories": [
                {"id": category.id, "name": category.name}
                for category in self._label_space.classes
                if category.thing
            ],
            "annotations": [
                {**annotation, "image_id": number}
                for number, of_image in enumerate(annotations)
                for annotation in of_image
            ],
        }
        # Ids start at 1: COCOeval takes a match with 0 for none.
        for number, annotation in enumerate(coco.dataset["annotations"], start=1):
            annotation["id"] = number
        coco.createIndex()
        return coco


def _segment_means(segments: Segments, values: np.ndarray) -> np.ndarray:
    """Averages values [H, W] over each segment: [S] float64."""
    sums = np.bincount(segments.index.ravel(), values.ravel(), minlength=len(segments.ids))
    return sums / np.maximum(segments.areas, 1)
