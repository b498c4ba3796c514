"""Which cluster center each pixel belongs to, kMaX block after kMaX block, as pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.data.preprocessing import restore_map
from kmax_tf.figures import Assignment, draw_clusters
from kmax_tf.grids import stride_between
from kmax_tf.labels import LabelSpace
from kmax_tf.ops.resizing import resize_map

# Of a panel: there are many on a sheet.
_LONGEST_SIDE = 640


class InputSizes(NamedTuple):
    """How an image lies in the network's input.

    Attributes:
      whole: height and width of the input.
      image: [2] int32, height and width of the image in it; the rest is padding.
    """

    whole: tuple[int, int]
    image: tf.Tensor


def draw_assignments(
    image: np.ndarray,
    panoptic: np.ndarray,
    maps: Sequence[tf.Tensor],
    sizes: InputSizes,
    labels: LabelSpace,
    blocks: Optional[Collection[int]] = None,
) -> np.ndarray:
    """Draws the assignments of one image, block after block, and what came of them.

    Args:
      image: [H, W, 3] uint8; shrunk where it is large.
      panoptic: [H, W] panoptic map that was predicted.
      maps: [h, w] one a block, then that of the final masks (`inference.assignments_by_block`).
      sizes: of the network's input.
      labels: what the map's ids mean.
      blocks: numbers, from 1, of the blocks to draw; None: all. The final masks are always drawn.

    Returns:
      [height, width, 3] uint8, as `figures.draw_clusters`.
    """
    shrink = min(1.0, _LONGEST_SIDE / max(panoptic.shape))
    size = tf.constant([max(1, round(side * shrink)) for side in panoptic.shape])
    if shrink < 1:
        smooth = tf.image.resize(image, size, "area")
        image = np.asarray(tf.cast(tf.round(smooth), tf.uint8))
    assignments = []
    for number, centers in enumerate(maps, 1):
        full = resize_map(centers, sizes.whole)
        assignments.append(
            Assignment(
                name=f"block {number}" if number < len(maps) else "final masks",
                stride=stride_between(sizes.whole, centers.shape),
                centers=np.asarray(restore_map(full, sizes.image, size)),
            )
        )
    last = len(maps) - 1
    shown = None if blocks is None else {*(number - 1 for number in blocks), last}
    small = np.asarray(resize_map(tf.constant(panoptic), size))
    return draw_clusters(image, assignments, small, labels, shown)
