"""Requests of several clients -> calls of the model: what waits together goes together.

Nobody waits for company: whenever the model is free, it takes the longest waiting request and the
others of its kind that wait.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmax_tf.serving.json_forms import Call
from kmax_tf.serving.limits import Limits
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.refusals import RefusedError
from kmax_tf.serving.served_model import ServedModel, is_batched

Outputs = dict[str, np.ndarray]


@dataclasses.dataclass
class _Waiting:
    """A request that waits.

    Attributes:
      kind: of requests with equal kinds, images can go together.
    """

    model: ServedModel
    call: Call
    kind: tuple[Any, ...]
    answer: concurrent.futures.Future[Outputs]


class Batcher:
    """Gives a model what waits for it, in a thread of its own."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self._limits, self._metrics = limits, metrics
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._images = 0
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    def submit(self, model: ServedModel, call: Call) -> concurrent.futures.Future[Outputs]:
        """Queues a request; one whose answer is cancelled before its turn isn't computed.

        Raises:
          RefusedError: too many images wait.
        """
        item = _Waiting(model, call, _kind(model, call), concurrent.futures.Future())
        with self._changed:
            if self._images and self._images + call.images > self._limits.queue:
                raise RefusedError(
                    503,
                    f"{self._images} images wait for the model, which is as many as may "
                    f"({self._limits.queue}); ask again later",
                )
            self._waiting.append(item)
            self._count(call.images)
            self._changed.notify()
        return item.answer

    def close(self) -> None:
        """Answers what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _count(self, images: int) -> None:
        self._images += images
        self._metrics.queue.set(self._images)

    def _work(self) -> None:
        while batch := self._next():
            self._compute([item for item in batch if item.answer.set_running_or_notify_cancel()])

    def _next(self) -> list[_Waiting]:
        """Waits for requests, and takes the first with others of its kind; [] at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            taken, images = [first], first.call.images
            for item in list(self._waiting):
                fits = images + item.call.images <= self._limits.batch
                if item.kind == first.kind and fits:
                    self._waiting.remove(item)
                    taken.append(item)
                    images += item.call.images
            self._count(-images)
        return taken

    def _compute(self, items: Sequence[_Waiting]) -> None:
        """Answers requests of a kind by one call; by one each, where this fails."""
        if not items:
            return
        try:
            with self._metrics.model_seconds.time():
                outputs = items[0].model(items[0].call.signature, _joined(items))
        except Exception as error:  # goes to who asked
            if len(items) == 1:
                items[0].answer.set_exception(error)
                return
            for item in items:
                self._compute([item])
            return
        self._metrics.batch_images.observe(sum(item.call.images for item in items))
        for item, part in zip(items, _parts(items, outputs)):
            item.answer.set_result(part)


def _kind(model: ServedModel, call: Call) -> tuple[Any, ...]:
    """Returns what calls have alike whose images can go together.

    Maps that are padded to the largest image aren't the same in company; others' sizes differ.
    """
    signature = call.signature
    if signature.pads or any(not is_batched(spec) for spec in signature.outputs.values()):
        return (object(),)
    alike = [
        (name, value.shape[1:] if is_batched(signature.inputs[name]) else value.item())
        for name, value in sorted(call.inputs.items())
    ]
    return (id(model), signature.name, *alike)


def _joined(items: Sequence[_Waiting]) -> Outputs:
    """Returns the inputs of a call for several requests."""
    first = items[0].call
    if len(items) == 1:
        return first.inputs
    return {
        name: np.concatenate([item.call.inputs[name] for item in items])
        if is_batched(spec)
        else first.inputs[name]
        for name, spec in first.signature.inputs.items()
    }


def _parts(items: Sequence[_Waiting], outputs: Outputs) -> list[Outputs]:
    """Returns what of a call's outputs is of which request."""
    if len(items) == 1:
        return [outputs]
    ends = np.cumsum([item.call.images for item in items])
    return [
        {name: value[end - item.call.images : end] for name, value in outputs.items()}
        for item, end in zip(items, ends)
    ]
