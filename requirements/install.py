"""Installs kmax_tf, editable, with its tools into the environment of the Python that runs this.

Used by `make`. It shows in one line how far pip is: rewritten in place on a terminal, a line now
and then elsewhere. Everything that pip says goes to install.log and install.err in the
environment's folder; what it says of errors is shown, whole, when it fails. Only the standard
library can be used here.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10  # between two lines where there is no terminal
INTERRUPTED = 130


def main() -> int:
    """Updates pip, then installs; returns the exit status."""
    constraints = lock()
    known = len(locked(constraints)) if constraints else 0
    print(f"Installing kmax_tf and what it needs into {sys.prefix}: minutes, the first time")
    wanted = ["--constraint", str(constraints)] if constraints else []
    # The pip that comes with Python 3.9 and 3.10 searches for minutes.
    steps = {"pip": ["--upgrade", "pip"], "kmax_tf": [*wanted, "--editable", f"{ROOT}[dev]"]}
    for what, arguments in steps.items():
        try:
            status = install(arguments, Reading(what, known))
        except KeyboardInterrupt:
            print("\nInterrupted: run the same again, and it goes on.", file=sys.stderr)
            return INTERRUPTED
        if status:
            return status
    return 0


def lock() -> Path | None:
    """Returns the list of known good versions; there isn't one for each system and Python."""
    major, minor, _ = platform.python_version_tuple()
    path = ROOT / "requirements" / f"{platform.system().lower()}-python{major}.{minor}.txt"
    return path if path.exists() else None


def locked(path: Path) -> list[str]:
    """Returns the lines of a list of versions."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def install(arguments: list[str], reading: Reading) -> int:
    """Runs `pip install` with these arguments, shows how far it is, and returns its status."""
    said, errors = (Path(sys.prefix) / f"install.{ending}" for ending in ("log", "err"))
    progress = "raw" if pip_version() >= [24, 1] else "off"
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", progress, *arguments]
    with (
        said.open("w") as output,
        errors.open("w") as error_output,
        said.open(errors="replace") as news,
    ):
        pip = subprocess.Popen(command, stdout=output, stderr=error_output)
        display = Display()
        try:
            while pip.poll() is None:
                time.sleep(0.2)
                reading.take(news.read())
                display.show(reading.sentence())
            reading.take(news.read())
            display.show(reading.sentence(ended=True), last=True)
        except KeyboardInterrupt:
            pip.wait()  # it was interrupted as well, and tidies up
            raise
    if pip.returncode:
        print(f"\npip install failed ({pip.returncode}):", file=sys.stderr)
        print(errors.read_text(errors="replace"), file=sys.stderr)
        print(f"All that it said is in {said} and {errors}.", file=sys.stderr)
    return pip.returncode


def pip_version() -> list[int]:
    """Returns the first two numbers of the version of pip that is installed now."""
    return [int(number) for number in importlib.metadata.version("pip").split(".")[:2]]


class Reading:
    """What pip's output says about how far it is."""

    def __init__(self, what: str, known: int):
        """Begins.

        Args:
          what: is installed.
          known: how many packages there will be about, 0 if nobody knows.
        """
        self._what = what
        self._known = known
        self._found = 0
        self._doing = ""
        self._file = ""
        self._rest = ""
        self._to_install: list[str] = []
        self._packages = Path(sysconfig.get_path("purelib"))
        self._before = 0

    def take(self, text: str) -> None:
        """Takes what pip has said since, which may end in the middle of a line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        words = line.split()
        if line.startswith("Collecting "):
            self._found += 1
            self._doing = f"looking for {words[1]}"
        elif len(words) > 1 and words[0] == "Downloading":
            self._file = words[1].rsplit("/", 1)[-1].split("-")[0]
            self._doing = f"downloading {self._file}"
        elif match := re.match(r"Progress (\d+) of (\d+)$", line):
            done, size = (int(number) / 1e6 for number in match.groups())
            self._doing = f"downloading {self._file}, {done:.1f} of {size:.1f} MB"
        elif line.startswith("Installing collected packages: "):
            # pip installs them in this order.
            self._to_install = [word.rstrip(",") for word in words[3:]]
            self._before = self._installed()
        elif line.startswith("Successfully installed "):
            self._before = self._installed() - len(self._to_install)

    def sentence(self, ended: bool = False) -> str:
        """Returns where pip is."""
        if self._to_install:
            total = len(self._to_install)
            done = max(0, min(self._installed() - self._before, total))
            doing = f", installing {self._to_install[done]}" if done < total else ""
            return f"{self._what}: installed {done} of {total} packages{doing}"
        if ended and not self._found:
            return f"{self._what}: nothing to install"
        of = f" of about {self._known}" if self._known > self._found else ""
        found = f"found {self._found}{of} packages" if self._found else "starting"
        return ", ".join(part for part in (f"{self._what}: {found}", self._doing) if part)

    def _installed(self) -> int:
        return sum(1 for _ in self._packages.glob("*.dist-info"))


class Display:
    """One line with the time: rewritten in place on a terminal, now and then elsewhere."""

    def __init__(self) -> None:
        self._start = self._shown = time.monotonic()
        self._live = sys.stdout.isatty()

    def show(self, sentence: str, last: bool = False) -> None:
        """Shows the line if it is due; the last one always."""
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self._start), 60)
        line = f"  {minutes}:{seconds:02d}  {sentence}"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="\n" if last else "", flush=True)
        elif last or now - self._shown >= SECONDS:
            self._shown = now
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
