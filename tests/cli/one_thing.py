"""A model that needs no weights, for tests of what is around it.

As a program, it predicts as `kmax predict` does, slowly: python -m tests.cli.one_thing ARGUMENT...
"""

from __future__ import annotations

import sys
import time

import numpy as np

from kmax_tf.cli.main import main
from kmax_tf.config.dataset import read_description
from kmax_tf.export import predictor


class OneThing:
    """Finds a thing in the upper half of each image; its number is the image's brightness."""

    labels = read_description("shapes")[0]

    def __init__(self, identity="one thing", seconds=0.0):
        self.identity = identity
        self.seconds = seconds
        self.batches = []  # shapes

    def batch(self, images):
        time.sleep(self.seconds)
        self.batches.append(np.stack(images).shape)
        return [self._predict(image) for image in images]

    def _predict(self, image):
        category = next(c for c in self.labels.classes if c.thing)
        panoptic = np.full(image.shape[:2], self.labels.void_panoptic_id, np.int32)
        thing = category.id * self.labels.label_divisor + 1 + int(image.mean()) % 100
        panoptic[: len(image) // 2 + 1] = thing
        return {
            "panoptic": panoptic,
            "segment_ids": np.array([thing], np.int32),
            "segment_scores": np.array([0.5], np.float32),
        }


if __name__ == "__main__":
    predictor.load_predictor = lambda model, needed: OneThing(seconds=0.05)
    sys.exit(main(["predict", *sys.argv[1:]]))
