"""Small random problems for the losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

IGNORE = 0


@dataclasses.dataclass
class Problem:
    """Targets of 17 x 25 and predictions of 5 x 7 for two images, as arrays.

    4 classes with ids 1..4, 0 is unlabeled; 6 centers; at most 5 segments.
    """

    targets: dict
    predictions: dict

    def tensors(self):
        """Returns targets and predictions as tensors."""
        return tf.nest.map_structure(tf.constant, (self.targets, self.predictions))

    def image(self, index):
        """Returns flat segment map, flat labels and classes of an image on the logits' grid."""
        segments, semantic = (
            self.targets[name][index, ::4, ::4].ravel() for name in ("segment_map", "semantic_map")
        )
        return segments, semantic != IGNORE, self.targets["segment_classes"][index]


def random_prediction(rng, height, width, centers=6, classes=4, embedding=3):
    embeddings = rng.normal(size=[2, height, width, embedding])
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    prediction = {
        "mask_logits": rng.normal(size=[2, height, width, centers], scale=2.0),
        "class_logits": rng.normal(size=[2, centers, classes + 1]),
        "pixel_embeddings": embeddings,
    }
    return {key: value.astype(np.float32) for key, value in prediction.items()}


def random_problem(seed=0):
    rng = np.random.default_rng(seed)
    # Blocks of 4 x 4 pixels: segments 0..3, -1 crowd, -2 unlabeled; image 1 lacks segment 2.
    blocks = rng.integers(-2, 4, [2, 5, 7])
    blocks[0].flat[:6] = [-2, -1, 0, 1, 2, 3]
    blocks[1][blocks[1] == 2] = 3
    grid = np.repeat(np.repeat(blocks, 4, axis=1), 4, axis=2)[:, :17, :25]
    classes = rng.integers(0, 4, [2, 5])
    classes[:, 4:] = -1
    ids = np.stack([of_image[segments] for of_image, segments in zip(classes, grid)]) + 1
    semantic = np.select([grid == -2, grid == -1], [IGNORE, 2], ids)  # crowds are of class 2
    targets = {
        "semantic_map": semantic.astype(np.int32),
        "segment_map": np.maximum(grid, -1).astype(np.int32),
        "segment_classes": classes.astype(np.int32),
        "semantic_weights": rng.uniform(0.5, 3.0, grid.shape).astype(np.float32),
    }
    predictions = random_prediction(rng, 5, 7)
    predictions["intermediate"] = [random_prediction(rng, 3, 4), random_prediction(rng, 5, 7)]
    predictions["semantic_logits"] = rng.normal(size=[2, 3, 4, 5]).astype(np.float32)
    return Problem(targets, predictions)
