"""Evaluation of predictions in files, shared by several processes."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Sequence

from kmax_tf.evaluation.files.pairing import Pair
from kmax_tf.evaluation.files.pairs import count_pair
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.files.shared_work import share_tasks
from kmax_tf.files.workers import keep_memory
from kmax_tf.labels import LabelSpace
from kmax_tf.wording import count_of

# Images of a task: enough that handing it over weighs little, few enough to share evenly.
_MOST_IN_A_TASK = 10
_TASKS_A_WORKER = 4


def evaluate_pairs(
    pairs: Sequence[Pair],
    label_space: LabelSpace,
    mask_ap: bool,
    workers: int,
    advance: Callable[[int], None] = lambda images: None,
) -> tuple[PanopticMetrics, list[str]]:
    """Measures pairs of PNGs; the result doesn't depend on the number of workers.

    Args:
      pairs: the images.
      label_space: the classes.
      mask_ap: whether to measure mask AP, for which predictions must have scores.
      workers: number of processes at most, this one included.
      advance: called with the number of images done since.

    Returns:
      The metrics, and what should be said about the files.

    Raises:
      UserError: a file is missing, corrupt or contradicts another one; it says which.
    """
    keep_memory()
    metrics = PanopticMetrics(label_space, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    size = max(1, min(_MOST_IN_A_TASK, len(pairs) // (_TASKS_A_WORKER * workers)))
    chunks = [list(pairs[first : first + size]) for first in range(0, len(pairs), size)]
    count = functools.partial(_count_chunk, label_space=label_space, mask_ap=mask_ap)
    for counted, notes, images in share_tasks(count, chunks, workers):
        metrics.merge(counted)
        said.update(notes)
        advance(images)
    return metrics, [f"{count_of(n, 'image')} {note}" for note, n in sorted(said.items())]


def _count_chunk(
    pairs: Sequence[Pair], label_space: LabelSpace, mask_ap: bool
) -> tuple[PanopticMetrics, dict[str, int], int]:
    """Counts some images: the metrics, what to say of how many of them, and their number."""
    metrics = PanopticMetrics(label_space, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    for pair in pairs:
        said.update(count_pair(pair, label_space, metrics, mask_ap))
    return metrics, said, len(pairs)
