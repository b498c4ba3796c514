"""Every metric of panoptic segmentation at once, and the state in which workers exchange them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kmax_tf.evaluation.extremes import Extremes, RankedImage
from kmax_tf.evaluation.mask_ap import Instances, MaskAP
from kmax_tf.evaluation.mean_iou import MeanIoU
from kmax_tf.evaluation.panoptic_quality import PanopticQuality, PanopticQualityResult
from kmax_tf.evaluation.segment_matching import PredictedSegments, TrueSegments
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.panoptic.overlaps import Overlaps

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace

# Results are in percent; NaN (null in files) is what isn't defined: a class without segments, the
# things of a dataset of stuff.
Result = dict[str, Any]

# Images remembered as the worst, and as the best.
_EXTREMES = 6


class PanopticMetrics:
    """Panoptic quality, mean IoU and mask AP of images, one after another.

    The result doesn't depend on the order of images or on how they were split and merged.

    Args:
      labels: what the ids of the maps mean.
      mask_ap: whether to measure mask AP, which keeps the instances of every image (as run-length
        codes); without, memory is constant.
      resolution: at which the maps are given, for the report.

    Attributes:
      extremes: the worst and the best images so far.
    """

    def __init__(
        self, labels: LabelSpace, mask_ap: bool = True, resolution: str = "original"
    ) -> None:
        self._label_space = labels
        self._resolution = resolution
        self._images = 0
        self._panoptic_quality = PanopticQuality(labels)
        self._mean_iou = MeanIoU(labels)
        self._mask_ap = MaskAP(labels) if mask_ap else None
        self.extremes = Extremes(_EXTREMES)
        # What states must have in common to be merged.
        self._of = [[[c.id, c.name, c.thing] for c in labels.classes], resolution, mask_ap]

    def update(
        self, image_id: ImageId, truth: np.ndarray, prediction: Mapping[str, np.ndarray]
    ) -> None:
        """Counts one image.

        Args:
          image_id: unique (used by mask AP).
          truth: [H, W] int32 panoptic map. Instance 0 of a thing class is a crowd region.
          prediction: [H, W] maps of the same size: "panoptic" and "semantic" int32; for mask AP
            "semantic_scores" (class confidence of the pixel's segment) and "instance_scores" (mask
            confidence of the pixel) float32.

        Raises:
          ValueError: maps differ in size or hold an id of no class, or the image came twice.
        """
        panoptic = prediction["panoptic"]
        quality = self._panoptic_quality.update(truth, panoptic)
        self._mean_iou.update(truth // self._label_space.label_divisor, prediction["semantic"])
        if self._mask_ap is not None:
            scores = prediction["semantic_scores"], prediction["instance_scores"]
            self._mask_ap.update(image_id, truth, panoptic, *scores)
        self.extremes.offer(image_id, quality)
        self._images += 1

    def add(
        self,
        image_id: ImageId,
        segments: tuple[TrueSegments, PredictedSegments, Overlaps],
        instances: Instances | None = None,
    ) -> None:
        """Counts one image whose segments are known.

        Mean IoU is then that of the panoptic map.

        Args:
          image_id: unique (used by mask AP).
          segments: of the truth and of the prediction, and how they overlap.
          instances: for mask AP.

        Raises:
          ValueError: a stated area is impossible, or the image came twice.
        """
        true, predicted, overlaps = segments
        quality = self._panoptic_quality.add(true, predicted, overlaps)
        self._mean_iou.add(true.classes, predicted.classes, overlaps)
        if self._mask_ap is not None and instances is not None:
            self._mask_ap.add(image_id, instances)
        self.extremes.offer(image_id, quality)
        self._images += 1

    def merge(self, other: PanopticMetrics) -> None:
        """Adds what another one, of other images, has counted.

        Raises:
          ValueError: the other one measures something else or has an image of this one.
        """
        self._add_content(other._content())

    def state(self) -> str:
        """Returns all that was counted, as JSON, for `merge_state` anywhere else."""
        return json.dumps(self._content(), default=np.ndarray.tolist)

    def merge_state(self, state: str) -> None:
        """Adds what another one, of other images, has counted, in whatever process.

        Raises:
          ValueError: the state is of something else or has an image of this one.
        """
        self._add_content(json.loads(state))

    def _content(self) -> dict[str, Any]:
        return {
            "of": self._of,
            "images": self._images,
            "panoptic_quality": self._panoptic_quality.state(),
            "mean_iou": self._mean_iou.state(),
            "mask_ap": None if self._mask_ap is None else self._mask_ap.state(),
            "extremes": self.extremes.state(),
        }

    def _add_content(self, content: Mapping[str, Any]) -> None:
        if content["of"] != self._of:
            raise ValueError("the state is of other classes, another resolution or other metrics")
        if self._mask_ap is not None:
            self._mask_ap.add_state(content["mask_ap"])
        self._panoptic_quality.add_state(content["panoptic_quality"])
        self._mean_iou.add_state(content["mean_iou"])
        self.extremes.add_state(content["extremes"])
        self._images += content["images"]

    @property
    def confusion(self) -> np.ndarray:
        """Returns [K, K+1] int64 pixels: true class, predicted class (the last: unlabeled)."""
        return self._mean_iou.confusion

    def result(self) -> Result:
        """Returns the metrics of all images so far, in percent.

        Keys: "pq", "sq", "rq" (each {"all", "things", "stuff"}), "miou", "ap" (COCO's statistics,
        see `mask_ap.STATISTICS`; empty without mask AP), "pq_by_size" ({"small", "medium",
        "large"}, each as "pq", and "tp", "fp", "fn"), "per_class" ({name: {"pq", "sq", "rq",
        "iou", "tp", "fp", "fn", "thing"}}), "worst_images" and "best_images" (each a list of
        {"image_id", "pq"}), "images", "resolution".
        """
        quality = self._panoptic_quality.result()
        mask_ap = {} if self._mask_ap is None else self._mask_ap.result()
        by_size = self._panoptic_quality.result_by_size()
        return {
            "pq": _percent(quality.average(quality.pq)),
            "sq": _percent(quality.average(quality.sq)),
            "rq": _percent(quality.average(quality.rq)),
            "miou": 100 * self._mean_iou.result(),
            "ap": _percent(mask_ap),
            "pq_by_size": {
                name: {**_percent(of_size.average(of_size.pq)), **_sums(of_size)}
                for name, of_size in by_size.items()
            },
            "per_class": self._per_class(quality),
            "worst_images": _listed(self.extremes.worst()),
            "best_images": _listed(self.extremes.best()),
            "images": self._images,
            "resolution": self._resolution,
        }

    def _per_class(self, quality: PanopticQualityResult) -> dict[str, dict[str, Any]]:
        iou = self._mean_iou.per_class()
        return {
            category.name: {
                **{k: float(100 * getattr(quality, k)[index]) for k in ("pq", "sq", "rq")},
                "iou": float(100 * iou[index]),
                **{k: int(getattr(quality, k)[index]) for k in ("tp", "fp", "fn")},
                "thing": category.thing,
            }
            for index, category in enumerate(self._label_space.classes)
        }


def _percent(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def _sums(quality: PanopticQualityResult) -> dict[str, int]:
    return {name: int(getattr(quality, name).sum()) for name in ("tp", "fp", "fn")}


def _listed(images: Sequence[RankedImage]) -> list[dict[str, Any]]:
    return [{"image_id": image.image_id, "pq": 100 * image.quality.pq} for image in images]
