"""Mean intersection over union of semantic maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmax_tf.panoptic.overlaps import Overlaps, find_overlaps
from kmax_tf.panoptic.segments import class_indices, require_map

if TYPE_CHECKING:
    from kmax_tf.labels import LabelSpace


class MeanIoU:
    """Counts pixels of images in a confusion matrix; merging is exact.

    Pixels that are unlabeled in the truth count nowhere. A pixel predicted as unlabeled is one that
    its true class misses.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self._label_space = labels
        num_classes = labels.num_classes
        self._confusion = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Counts one image.

        Args:
          truth: [H, W] integer class ids, the ignore label where unlabeled.
          prediction: [H, W] integer class ids or ignore label.

        Raises:
          ValueError: the maps differ in size or hold an id of no class.
        """
        for values, what in ((truth, "semantic ground truth"), (prediction, "semantic prediction")):
            require_map(values, what)
        if truth.shape != prediction.shape:
            raise ValueError(
                f"the semantic ground truth is {truth.shape} and the prediction {prediction.shape}"
            )
        overlaps = find_overlaps(truth, prediction)
        self.add(
            class_indices(overlaps.true_ids, self._label_space, "semantic ground truth"),
            class_indices(overlaps.predicted_ids, self._label_space, "semantic prediction"),
            overlaps,
        )

    def add(
        self, true_classes: np.ndarray, predicted_classes: np.ndarray, overlaps: Overlaps
    ) -> None:
        """Counts one image whose segments are known.

        Args:
          true_classes: [S] class index of each true segment; -1 where unlabeled.
          predicted_classes: [T] class index of each predicted segment; -1 where unlabeled.
          overlaps: of the segments.
        """
        true = true_classes[overlaps.pair_true]
        labeled = true >= 0
        # The last column is index -1, too.
        cells = true[labeled], predicted_classes[overlaps.pair_predicted][labeled]
        np.add.at(self._confusion, cells, overlaps.shared[labeled])

    def state(self) -> np.ndarray:
        """Returns all that was counted."""
        return self._confusion

    def add_state(self, state: Any) -> None:
        """Adds what another one, of the same classes, has counted: an array, or lists."""
        self._confusion += np.array(state, np.int64)

    @property
    def confusion(self) -> np.ndarray:
        """Returns [K, K+1] int64 pixels: true class, predicted class (the last: unlabeled)."""
        return self._confusion.copy()

    def per_class(self) -> np.ndarray:
        """Returns [K] float64 IoU (0..1) of each class; NaN where its union is empty."""
        correct = np.diagonal(self._confusion)
        predicted = self._confusion[:, :-1].sum(axis=0)
        union = self._confusion.sum(axis=1) + predicted - correct
        return np.where(union > 0, correct / np.maximum(union, 1), np.nan)

    def result(self) -> float:
        """Returns the mean IoU (0..1) of classes with a union; NaN if there is none."""
        iou = self.per_class()
        defined = iou[~np.isnan(iou)]
        return float(defined.mean()) if defined.size else float("nan")
