"""Mask average precision of thing instances, by pycocotools, from panoptic maps."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.segments import find_segments

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# In the order of COCOeval.stats.
STATISTICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


class RepeatedImageError(UserError, ValueError):
    """Says which image came twice."""


@dataclasses.dataclass(frozen=True)
class Instances:
    """What is kept of an image: its instances as COCO annotations without ids.

    Attributes:
      truths: category_id (the dataset's), segmentation, area and iscrowd of each true instance.
      detections: the same of each predicted one, and its score.
    """

    truths: list[dict[str, Any]]
    detections: list[dict[str, Any]]


class MaskAP:
    """Collects instances of images as run-length codes.

    An instance is a segment of a thing class; in the truth, instance 0 is a crowd region. The score
    of a prediction is mean(semantic score) * mean(instance score) over its pixels. Neither the
    order of the images nor the numbering of instances matters: images are ordered by id, and
    instances of an image by score, then by their first pixel.

    Memory grows with the instances, some hundred bytes each (more where outlines are rough), since
    COCO ranks all of a set together.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self._label_space = labels
        self._images: dict[ImageId, Instances] = {}

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
        scores = segment_scores(prediction, semantic_scores, instance_scores, self._label_space)
        truths = self._instances(truth, "ground truth")
        detections = self._instances(prediction, "prediction")
        for panoptic_id, annotation in truths.items():
            annotation["iscrowd"] = int(panoptic_id % self._label_space.label_divisor == 0)
        for panoptic_id, annotation in detections.items():
            annotation["score"] = scores[panoptic_id]
        self.add(image_id, Instances(list(truths.values()), list(detections.values())))

    def add(self, image_id: ImageId, instances: Instances) -> None:
        """Takes the instances of one image.

        Raises:
          RepeatedImageError: the image was there.
        """
        if image_id in self._images:
            raise RepeatedImageError(
                f"image {image_id!r} is evaluated twice; images are known by their paths below the "
                "folder of the images: convert the dataset again if the records have file names "
                "only"
            )
        self._images[image_id] = instances

    def state(self) -> list[Any]:
        """Returns all that was collected: [image id, fields of `Instances`] each."""
        return [[image_id, vars(self._images[image_id])] for image_id in self._ordered()]

    def add_state(self, state: list[Any]) -> None:
        """Adds what another one, of the same classes, has collected.

        Raises:
          RepeatedImageError: it has an image of this one.
        """
        for image_id, instances in state:
            self.add(image_id, Instances(**instances))

    def result(self) -> dict[str, float]:
        """Evaluates everything collected so far.

        Returns:
          COCO's twelve statistics (`STATISTICS`) as shares (0..1). NaN where undefined: no true
          instance (of that size). Without any detection, zeros.
        """
        images = [self._images[image_id] for image_id in self._ordered()]
        if not images:
            return dict.fromkeys(STATISTICS, float("nan"))
        from pycocotools.cocoeval import COCOeval

        def best_first(detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return sorted(detections, key=lambda annotation: -annotation["score"])

        things = [category.id for category in self._label_space.classes if category.thing]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation = COCOeval(
                _annotations([image.truths for image in images], things),
                _annotations([best_first(image.detections) for image in images], things),
                "segm",
            )
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = [float(value) if value >= 0 else float("nan") for value in evaluation.stats]
        return dict(zip(STATISTICS, values))

    def _ordered(self) -> list[ImageId]:
        return sorted(self._images, key=lambda image_id: (str(image_id), str(type(image_id))))

    def _instances(self, panoptic: np.ndarray, what: str) -> dict[int, dict[str, Any]]:
        """Describes the instances of a map by panoptic id, in the order of their first pixels."""
        runs, classes = find_segments(panoptic, self._label_space, what, columns=True)
        things = np.append(self._label_space.is_thing, False)[classes]
        _, first_run = np.unique(runs.index, return_index=True)
        return {
            int(runs.values[place]): {
                "category_id": int(self._label_space.ids[classes[place]]),
                "segmentation": runs.encode(place),
                "area": int(runs.areas[place]),
                "iscrowd": 0,
            }
            for place in np.argsort(first_run)
            if things[place]
        }


def _annotations(of_images: list[list[dict[str, Any]]], categories: list[int]) -> Any:
    """Returns annotations in the form that COCOeval reads: what it calls of pycocotools' `COCO`.

    That itself takes longer to import, with its downloads, than some images to evaluate.

    Args:
      of_images: a list an image, whose ids become 0, 1, ...
      categories: ids of all categories.
    """
    listed = ((i, annotation) for i, of_one in enumerate(of_images) for annotation in of_one)
    # Ids start at 1: COCOeval takes a match with 0 for none.
    annotations = {
        number: {**annotation, "image_id": image_id, "id": number}
        for number, (image_id, annotation) in enumerate(listed, 1)
    }
    return types.SimpleNamespace(
        getImgIds=lambda: list(range(len(of_images))),
        getCatIds=lambda: categories,
        getAnnIds=lambda **_: list(annotations),  # it asks for those of all
        loadAnns=lambda ids: [annotations[number] for number in ids],
        annToRLE=lambda annotation: annotation["segmentation"],
    )


def segment_scores(
    panoptic: np.ndarray,
    semantic_scores: np.ndarray,
    instance_scores: np.ndarray,
    labels: LabelSpace,
) -> dict[int, float]:
    """Scores the predicted segments of an image, by panoptic id.

    Args:
      panoptic: [H, W] integer panoptic map.
      semantic_scores: [H, W] class confidence of each pixel's segment.
      instance_scores: [H, W] mask confidence of each pixel.
      labels: what the ids mean.

    Returns:
      mean(semantic score) * mean(instance score) over the pixels of each segment.

    Raises:
      ValueError: the map isn't [H, W] of integers, or holds an id of no class.
    """
    runs, _ = find_segments(panoptic, labels, "prediction")
    places = runs.places().ravel()
    semantic, instance = (
        np.bincount(places, values.ravel(), minlength=len(runs.values)) / runs.areas
        for values in (semantic_scores, instance_scores)
    )
    return dict(zip(runs.values.tolist(), (semantic * instance).tolist()))
