"""What a training run tells people while it goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

import numpy as np

Say = Callable[[str], None]

_SECONDS = 5.0  # between lines inside a loop


class RunProgress:
    """Says how far training is: every few seconds, and with the loss at the end of each loop.

    Rates are those of steps alone: neither the preparation of the first step nor what happens
    between two loops, such as an evaluation, counts. No value is read from a device, so nothing
    waits for it, and workers that read values together don't wait for each other.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Makes what is told of steps.

        Args:
          steps: of the whole run.
          batch_size: images of a step.
          say: prints a line.
          clock: returns seconds.
        """
        self.steps = steps
        self.batch_size = batch_size
        self.say = say
        self._clock = clock
        self._step = 0
        self._since: Optional[tuple[int, float]] = None
        self._rate = ""

    def begin_loop(self, step: int) -> None:
        """Notes that training continues after a step."""
        self._step = step
        self._since = (step, self._clock())

    @contextlib.contextmanager
    def stage(self, doing: str) -> Iterator[None]:
        """Says that something begins, and when it is done how many seconds it took."""
        self.say(f"{doing} ...")
        start = self._clock()
        yield
        self.say(f"{doing}: {self._clock() - start:.1f} s")

    def first_step_done(self) -> None:
        """Notes that the first step of this process is done, whose time tells nothing."""
        self._step += 1
        self._since = (self._step, self._clock())

    def step_done(self) -> None:
        """Notes that another step is done; says so if some seconds have passed."""
        self._step += 1
        if self._since is not None and self._clock() - self._since[1] >= _SECONDS:
            self._show("")

    def end_loop(self, output: Optional[Mapping[str, Any]], step: int) -> None:
        """Says where a loop ended.

        Args:
          output: of the loop, with its mean loss.
          step: the last.
        """
        self._step = step
        self._show(f"  loss {float(np.asarray(output['training_loss'])):.3f}" if output else "")

    def _show(self, loss: str) -> None:
        now = self._clock()
        if self._since is not None and self._step > self._since[0]:
            seconds = max(1e-6, (now - self._since[1]) / (self._step - self._since[0]))
            left = round(seconds * (self.steps - self._step))
            self._rate = (
                f"  {seconds * 1000:.0f} ms/step  {self.batch_size / seconds:.1f} images/s"
                f"  {left // 60}:{left % 60:02d} left"
            )
            self._since = (self._step, now)
        self.say(f"step {self._step}/{self.steps}{loss}{self._rate}")
