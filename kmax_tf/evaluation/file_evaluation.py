"""Evaluation of predictions in files, by several processes whose states are merged."""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence

from kmax_tf.data.workers import keep_memory
from kmax_tf.evaluation.file_pairs import Pair, count_pair
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.structures import LabelSpace

# Images of a task: enough that a state weighs little beside them, few enough to share evenly.
_CHUNK = 25
# Tasks handed out at a time, for each worker: memory doesn't grow with the set.
_TASKS_AHEAD = 3


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
      workers: number of processes; 1 is this one.
      advance: called with the number of images done since.

    Returns:
      The metrics, and what should be said about the files.

    Raises:
      UserError: a file is missing, corrupt or contradicts another one; it says which.
    """
    metrics = PanopticMetrics(label_space, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    chunks = [list(pairs[first : first + _CHUNK]) for first in range(0, len(pairs), _CHUNK)]
    workers = min(workers, len(chunks))
    if workers == 1:
        for pair in pairs:
            said.update(count_pair(pair, label_space, metrics, mask_ap))
            advance(1)
    else:
        for state, notes, images in _in_processes(chunks, label_space, mask_ap, workers):
            metrics.merge_state(state)
            said.update(notes)
            advance(images)
    return metrics, [f"{count} {note}" for note, count in sorted(said.items())]


def _in_processes(
    chunks: Sequence[Sequence[Pair]], label_space: LabelSpace, mask_ap: bool, workers: int
) -> Iterator[tuple[str, dict[str, int], int]]:
    """Yields the states of chunks as they are finished, what to say of them, and their images."""
    # Not forked: this process may hold threads of TensorFlow or of others.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, keep_memory) as pool:
        waiting = iter(chunks)
        running: set[concurrent.futures.Future[tuple[str, dict[str, int], int]]] = set()
        try:
            while True:
                while len(running) < workers * _TASKS_AHEAD:
                    chunk = next(waiting, None)
                    if chunk is None:
                        break
                    running.add(pool.submit(_count_chunk, chunk, label_space, mask_ap))
                if not running:
                    return
                done, running = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()


def _count_chunk(
    pairs: Sequence[Pair], label_space: LabelSpace, mask_ap: bool
) -> tuple[str, dict[str, int], int]:
    """Counts images in a worker."""
    metrics = PanopticMetrics(label_space, mask_ap)
    said: collections.Counter[str] = collections.Counter()
    for pair in pairs:
        said.update(count_pair(pair, label_space, metrics, mask_ap))
    return metrics.state(), said, len(pairs)
