"""Which files a command wrote itself: only those does it replace without being told to.

What a command writes, and what it was like, is noted in a hidden file of each folder. A file that
isn't noted, was changed since, or was written by another command, is somebody's work.
Files of remote systems are not looked after: they can't be added to.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator

from kmax_tf.errors import OutputError

NOTES = ".kmax_files"
# In the environment, so that processes which a command starts know them, too.
_COMMAND, _OVERWRITE = "KMAX_WRITING_COMMAND", "KMAX_OVERWRITE"


@contextlib.contextmanager
def writing_as(command: str, overwrite: bool = False) -> Iterator[None]:
    """Looks after the files that are written inside; outside, everything is replaced.

    Args:
      command: who writes.
      overwrite: replaces what others wrote, too.
    """
    before = {name: os.environ.get(name) for name in (_COMMAND, _OVERWRITE)}
    os.environ.update({_COMMAND: command, _OVERWRITE: "1" if overwrite else ""})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def check_free(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Checks that nothing is in the way of files but what the command that runs wrote itself.

    Raises:
      OutputError: names the first file that isn't the command's own.
    """
    command = os.environ.get(_COMMAND)
    if not command or os.environ.get(_OVERWRITE):
        return
    for path in (os.fspath(path) for path in paths):
        if "://" in path or not os.path.lexists(path):
            continue
        if not wrote(path):
            raise OutputError(
                f"{path} is there already, and isn't what `{command}` wrote there; give another "
                "output, move the file away, or allow it with --overwrite"
            )


def wrote(path: str | os.PathLike[str]) -> bool:
    """Returns whether the command that runs wrote a file, now or earlier, as it is."""
    command = os.environ.get(_COMMAND)
    if not command:
        return False
    folder, name = os.path.split(os.fspath(path))
    known = _notes(folder or ".").read().get((command, name), set())
    return bool(known) and _checksum(os.fspath(path)) in known


def note_written(path: str | os.PathLike[str], content: bytes | None = None) -> None:
    """Notes that the command that runs writes a file.

    Args:
      path: of the file.
      content: what will be in it; None: it has been written.
    """
    command = os.environ.get(_COMMAND)
    path = os.fspath(path)
    if not command or "://" in path:
        return
    checksum = _checksum(path) if content is None else hashlib.sha256(content).hexdigest()
    folder, name = os.path.split(path)
    _notes(folder or ".").add(command, name, checksum)


@functools.lru_cache(maxsize=64)
def _notes(folder: str) -> _Notes:
    return _Notes(os.path.join(folder, NOTES))


class _Notes:
    """The notes of a folder: a line a file, [command, name, checksum]; others may add to them."""

    def __init__(self, path: str):
        self._path = path
        self._lock = threading.Lock()
        self._read = 0
        self._known: dict[tuple[str, str], set[str]] = {}

    def read(self) -> dict[tuple[str, str], set[str]]:
        """Returns the checksums that files of a command and a name have had."""
        with self._lock:
            return self._read_added()

    def add(self, command: str, name: str, checksum: str) -> None:
        """Adds a line, unless it is there."""
        with self._lock:
            if checksum in self._read_added().get((command, name), ()):
                return
            line = json.dumps([command, name, checksum]) + "\n"
            with open(self._path, "ab") as file:
                file.write(line.encode("ascii"))

    def _read_added(self) -> dict[tuple[str, str], set[str]]:
        try:
            if os.path.getsize(self._path) < self._read:  # another one in its place
                self._read, self._known = 0, {}
            with open(self._path, "rb") as file:
                file.seek(self._read)
                added = file.read()
        except OSError:
            self._read, self._known = 0, {}
            return self._known
        self._read += len(added)
        for line in added.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # half a line, after a crash
                command, name, checksum = json.loads(line)
                self._known.setdefault((command, name), set()).add(checksum)
        return self._known


def _checksum(path: str) -> str:
    """Returns the SHA-256 of a file; "" of a folder or what can't be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
