"""Segments of a map as COCO's run-length codes, all of them in one pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kmax_tf.panoptic.runs import number_values, run_ends, sum_by_index


@dataclasses.dataclass(frozen=True)
class Runs:
    """The R runs of equal ids of a map, column after column, as COCO counts pixels.

    Attributes:
      ids: [S] the ids present, increasing.
      index: [R] segment of each run.
      starts: [R] first pixel of each run.
      lengths: [R] pixels of each run.
      size: height, width.
    """

    ids: np.ndarray
    index: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    size: tuple[int, int]

    def areas(self) -> np.ndarray:
        """Returns [S] int64 pixels of each segment."""
        return sum_by_index(self.index, self.lengths, len(self.ids))

    def encode(self, segment: int) -> dict[str, Any]:
        """Returns the run-length code of a segment (-1: an empty one) as `pycocotools.mask.encode`.

        Its counts are text.
        """
        mine = self.index == segment
        starts, lengths = self.starts[mine], self.lengths[mine]
        # Alternately pixels outside and inside, and those behind the last run, if any.
        counts = np.empty(2 * len(starts), np.int64)
        counts[0::2] = starts - np.concatenate([[0], starts + lengths])[: len(starts)]
        counts[1::2] = lengths
        rest = self.size[0] * self.size[1] - int((starts + lengths).max(initial=0))
        listed = [*counts.tolist(), rest] if rest else counts.tolist()
        from pycocotools import mask as rle_masks

        height, width = self.size
        code = rle_masks.frPyObjects({"counts": listed, "size": [height, width]}, height, width)
        return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def find_runs(ids: np.ndarray) -> Runs:
    """Finds the runs of a map [H, W] of integers."""
    columns = ids.ravel(order="F")
    ends = run_ends(columns)
    present, index = number_values(columns[ends])
    lengths = np.diff(ends, prepend=-1)
    height, width = ids.shape
    return Runs(present, index, ends + 1 - lengths, lengths, (height, width))
