"""Installs kmax_tf, editable, with its tools into the environment of the Python that runs this.

Used by `make`. It shows in one line how far pip is: rewritten in place on a terminal, a line now
and then elsewhere. Everything that pip says goes to install.log and install.err in the
environment's folder; what it says of errors is shown, whole, when it fails. Only the standard
library can be used here.
"""

from __future__ import annotations

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
    # The pip that comes with Python 3.9 and 3.10 searches for minutes.
    wanted = ["--constraint", str(constraints)] if constraints else []
    for arguments in (["--upgrade", "pip"], [*wanted, "--editable", f"{ROOT}[dev]"]):
        try:
            status = install(arguments, known)
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


def install(arguments: list[str], known: int) -> int:
    """Runs pip and shows how far it is.

    Args:
      arguments: of `pip install`.
      known: how many packages there will be about, 0 if nobody knows.

    Returns:
      pip's exit status.
    """
    said, errors = (Path(sys.prefix) / f"install.{ending}" for ending in ("log", "err"))
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "raw", *arguments]
    with said.open("w") as output, errors.open("w") as error_output, said.open() as lines:
        pip = subprocess.Popen(command, stdout=output, stderr=error_output)
        display = Display()
        reading = Reading(known)
        try:
            while pip.poll() is None:
                time.sleep(0.2)
                for line in lines:
                    reading.take(line)
                display.show(reading.sentence())
            if pip.returncode == 0:
                for line in lines:
                    reading.take(line)
                display.show(reading.sentence(), last=True)
        except KeyboardInterrupt:
            pip.wait()  # it was interrupted as well, and tidies up
            raise
    if pip.returncode:
        print(f"\npip install failed ({pip.returncode}):", file=sys.stderr)
        print(errors.read_text(errors="replace"), file=sys.stderr)
        print(f"All that it said is in {said} and {errors}.", file=sys.stderr)
    return pip.returncode


class Reading:
    """What pip's output says about how far it is."""

    def __init__(self, known: int):
        self._known = known
        self._found = 0
        self._doing = ""
        self._file = ""
        self._total = 0
        self._packages = Path(sysconfig.get_path("purelib"))
        self._before = 0

    def take(self, line: str) -> None:
        """Takes a line of pip's output."""
        words = line.split()
        if line.startswith("Collecting "):
            self._found += 1
            self._doing = f"looking for {words[1]}"
        elif len(words) > 1 and words[0] == "Downloading":
            self._file = words[1].rsplit("/", 1)[-1]
            self._doing = f"downloading {self._file}"
        elif match := re.match(r"Progress (\d+) of (\d+)$", line):
            done, size = (int(number) / 1e6 for number in match.groups())
            self._doing = f"downloading {self._file}: {done:.0f} of {size:.0f} MB"
        elif line.startswith("Installing collected packages: "):
            self._total = len(words) - 3
            self._before = self._installed()
        elif line.startswith("Successfully installed "):
            self._doing = ""
            self._before = self._installed() - self._total

    def sentence(self) -> str:
        """Returns where pip is."""
        if self._total:
            done = max(0, min(self._installed() - self._before, self._total))
            return f"installed {done} of {self._total} packages"
        of = f" of about {self._known}" if self._known > self._found else ""
        found = f"found {self._found}{of} packages" if self._found else "starting"
        return ", ".join(part for part in (found, self._doing) if part)

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
