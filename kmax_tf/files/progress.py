"""A progress line with rate and time left."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Shows how far a loop is: rewritten in place on a terminal, a line now and then elsewhere.

    Attributes:
      done: steps counted so far.
    """

    def __init__(self, total: int | None, what: str, stream: TextIO | None = None):
        """Starts the clock; a total of None is one that is not known beforehand."""
        self.done = 0
        self._before = 0
        self._total = total
        self._what = what
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._start = self._shown = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Counts steps, and shows the line where it is due."""
        self.done += steps
        now = time.monotonic()
        if self.done == self._total or now - self._shown > (0.2 if self._live else 10.0):
            self._shown = now
            self._show(now - self._start)

    def skip(self) -> None:
        """Counts a step that was done before, and so tells nothing of the rate."""
        self._before += 1
        self.advance()

    def expect(self, steps: int) -> None:
        """Raises the total by steps that have become known."""
        self._total = (self._total or 0) + steps

    def say(self, line: str) -> None:
        """Writes a line for people, above the one that is rewritten in place."""
        self._stream.write(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")
        self._stream.flush()

    def finish(self) -> None:
        """Shows the last line of a loop whose total was not known."""
        self._total = self.done
        self._show(time.monotonic() - self._start)

    def _show(self, elapsed: float) -> None:
        rate = (self.done - self._before) / max(elapsed, 1e-6)
        count, tail = str(self.done), _duration(elapsed)
        if self._total is not None and self.done <= self._total:
            count += f"/{self._total}"
            if self.done < self._total:
                tail = f"{_duration((self._total - self.done) / rate)} left" if rate else ""
        parts = [count, f"{_number(rate)}/s" if rate else "", tail]
        line = f"{self._what}: {', '.join(part for part in parts if part)}"
        if not self._live:
            self._stream.write(line + "\n")
        else:
            end = "\n" if self.done == self._total else ""
            self._stream.write(f"\r\x1b[K{line}{end}")
        self._stream.flush()


def _number(rate: float) -> str:
    """Returns a number of two digits or more, without those that say nothing: 0.45, 4.5, 45."""
    return f"{rate:.{0 if rate >= 9.95 else 1 if rate >= 0.995 else 2}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
