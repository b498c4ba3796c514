"""Prediction of many pictures: read, computed in batches of a size, written, each beside the rest.

    read (threads) -> batches by size -> compute (this thread) -> write (threads)

Each step takes from the one before no more than it has room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, Union

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.export.predictor import Prediction, Predictor
from kmax_tf.export.results import Finished, Picture, Results
from kmax_tf.files.ahead import map_ahead

Outcome = Union[Finished, BadExampleError]
# Batches, of sizes that few images have, that wait to be full.
_WAITING_BATCHES = 4


class Computed(NamedTuple):
    """An image [H, W, 3] uint8 and its prediction."""

    image: np.ndarray
    prediction: Prediction


def predict_pictures(
    pictures: Iterable[Picture],
    predictor: Predictor,
    results: Results,
    batch_size: int = 1,
    threads: int = 1,
) -> Iterator[tuple[Picture, Outcome]]:
    """Predicts pictures and writes their results; yields each with what became of it.

    Their order is that in which they are finished: those of a size come together.

    Args:
      pictures: taken one by one, up to the first that reads as None. What an earlier run
        finished is only looked up.
      predictor: of the model.
      results: where they go.
      batch_size: pictures at most that the model gets at once.
      threads: that read, and as many that write; 1 where pictures have to be read in order.

    Raises:
      OutputError: a file can't be written.
    """

    def read(picture: Picture) -> Union[np.ndarray, Outcome, None]:
        try:
            return results.find(picture) or picture.read()
        except BadExampleError as error:
            return error

    def write(computed: tuple[Picture, Union[Computed, Outcome]]) -> Outcome:
        picture, what = computed
        return results.write(picture, *what) if isinstance(what, Computed) else what

    reading = map_ahead(read, pictures, threads, ahead=batch_size + threads)
    computing = _compute(reading, predictor, batch_size)
    for (picture, _), outcome in map_ahead(write, computing, threads, ahead=batch_size + threads):
        yield picture, outcome.result()


def _compute(
    reading: Iterable[tuple[Picture, Future[Union[np.ndarray, Outcome, None]]]],
    predictor: Predictor,
    batch_size: int,
) -> Iterator[tuple[Picture, Union[Computed, Outcome]]]:
    """Yields predictions of the pictures that were read, and what became of the others."""
    waiting: dict[tuple[int, ...], list[tuple[Picture, np.ndarray]]] = {}
    for picture, future in reading:
        read = future.result()
        if read is None:
            break
        if not isinstance(read, np.ndarray):
            yield picture, read
            continue
        waiting.setdefault(read.shape, []).append((picture, read))
        full = len(waiting[read.shape]) == batch_size
        if full or sum(map(len, waiting.values())) >= _WAITING_BATCHES * batch_size:
            fullest = max(waiting, key=lambda shape: len(waiting[shape]))
            yield from _predict(waiting.pop(fullest), predictor)
    for batch in waiting.values():
        yield from _predict(batch, predictor)


def _predict(
    batch: list[tuple[Picture, np.ndarray]], predictor: Predictor
) -> Iterator[tuple[Picture, Computed]]:
    predictions = predictor.batch([image for _, image in batch])
    for (picture, image), prediction in zip(batch, predictions):
        yield picture, Computed(image, prediction)
