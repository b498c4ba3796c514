"""The semantic map of class probabilities, where several views of an image were averaged."""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.postprocessing.cells import Best, Cells, MaskGrid
from kmax_tf.postprocessing.readings import BEST


def best_classes(class_maps: tf.Tensor, stride: int, static: bool) -> tf.Tensor:
    """Finds the most probable class of each pixel.

    Args:
      class_maps: [B, h, w, K] class probabilities.
      stride: of the maps; between them, probabilities are interpolated.
      static: whether every shape must be known (XLA).

    Returns:
      [B, H, W] int32 class index; -1 where a probability isn't a number.
    """
    grid = MaskGrid.of(class_maps, stride, static)
    num_classes = grid.num_centers

    def read(probabilities: tf.Tensor, image: tf.Tensor) -> Best:
        largest = tf.reduce_max(probabilities, axis=1)
        best = tf.argmax(probabilities, axis=1, output_type=tf.int32) + image * num_classes
        return Best(tf.where(largest >= 0, best, -1), largest)

    corners = grid.at_corners(read, BEST)
    cells = Cells.settle(grid, corners, 0.5)  # more than half at all corners is so in between
    pixels = cells.read(
        cells.open,
        lambda probabilities, image: read(probabilities, image).center,
        tf.TensorSpec([], tf.int32),
    )
    best = cells.spread(cells.items(cells.settled, pixels))
    return tf.where(best >= 0, best % num_classes, -1)
