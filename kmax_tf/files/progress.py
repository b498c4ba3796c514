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

    def say(self, line: str) -> None:
        """Writes a line for people, above the one that is rewritten in place."""
        self._stream.write(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")
        self._stream.flush()

    def finish(self) -> None:
        """Shows the last line of a loop whose total was not known."""
        self._total = self.done
        self._show(time.monotonic() - self._start)

    def _show(self, elapsed: float) -> None:
        rate = self.done / max(elapsed, 1e-6)
        count, tail = str(self.done), _duration(elapsed)
        if self._total is not None:
            count += f"/{self._total}"
            if self.done < self._total:
                tail = f"{_duration((self._total - self.done) / max(rate, 1e-6))} left"
        line = f"{self._what}: {count}, {rate:.0f}/s, {tail}"
        if not self._live:
            self._stream.write(line + "\n")
        else:
            end = "\n" if self.done == self._total else ""
            self._stream.write(f"\r\x1b[K{line}{end}")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
