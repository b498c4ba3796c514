"""Which version of an export is served: the newest that loads, looked for again and again."""

from __future__ import annotations

import itertools
import logging
import pathlib
import threading
from collections.abc import Iterator
from typing import Any, Optional

from kmax_tf.errors import UserError
from kmax_tf.export.version_folder import find_versions
from kmax_tf.serving.logs import log
from kmax_tf.serving.metrics import Metrics
from kmax_tf.serving.served_model import ServedModel

_Fingerprint = tuple[tuple[str, int, int], ...]


class Versions:
    """Loads versions as they appear.

    A version that can't be loaded is tried again once its files have changed: it may be half
    copied. One that was loaded is in memory, and is served until a newer one is, whatever becomes
    of its folder.

    Attributes:
      current: what is served.
    """

    current: ServedModel

    def __init__(self, folder: pathlib.Path, metrics: Metrics):
        """Loads the newest version.

        Args:
          folder: of versions, or one version alone, which stays.
          metrics: told of loads.

        Raises:
          UserError: there is none that can be loaded.
        """
        self._folder, self._metrics = folder, metrics
        self._failed: dict[int, tuple[_Fingerprint, str]] = {}
        self._stop = threading.Event()
        self._watcher: Optional[threading.Thread] = None
        self._cold: Iterator[str] = iter(())
        found = self._found()
        if not found:
            raise UserError(
                f"{folder} holds no exported model: expected saved_model.pb, or folders with "
                "numbers as names that hold one; kmax export writes them"
            )
        for version in sorted(found, reverse=True):
            if self._load(version, found[version], whole=False):
                return
        raise UserError("; ".join(reason for _, reason in self._failed.values()))

    def watch(self, seconds: float) -> None:
        """Warms up the rest, and looks for newer versions every so many seconds, until `close`.

        It does so in a thread.
        """
        self._watcher = threading.Thread(target=self._watch, args=[seconds], daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Ends looking."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def look(self) -> None:
        """Loads the newest version, if it isn't served yet."""
        try:
            found = self._found()
        except OSError as error:  # the folder goes as it is read
            log("the folder of versions can't be read", logging.WARNING, reason=str(error))
            return
        for version in sorted(found, reverse=True):
            if version <= self.current.version or self._load(version, found[version]):
                return

    def statuses(self) -> list[dict[str, Any]]:
        """Returns what TensorFlow Serving tells of versions: the served one, and failed ones."""
        current = self.current.version
        told = {current: ("AVAILABLE", "OK", "")}
        for version, (_, reason) in list(self._failed.items()):
            if version > current:
                told[version] = ("END", "FAILED_PRECONDITION", reason)
        return [
            {
                "version": str(version),
                "state": state,
                "status": {"error_code": code, "error_message": reason},
            }
            for version, (state, code, reason) in sorted(told.items(), reverse=True)
        ]

    def _watch(self, seconds: float) -> None:
        try:
            for _ in self._cold:
                if self._stop.is_set():
                    return
        except Exception:  # It serves what it can.
            log("a signature can't be run", logging.ERROR, exc_info=True)
        while not self._stop.wait(seconds):
            self.look()

    def _found(self) -> dict[int, pathlib.Path]:
        if (self._folder / "saved_model.pb").exists():
            name = self._folder.resolve().name
            return {int(name) if name.isdecimal() else 1: self._folder}
        return find_versions(self._folder)

    def _load(self, version: int, folder: pathlib.Path, whole: bool = True) -> bool:
        """Loads a version, unless it failed as it is now; returns whether it is served.

        Args:
          version: its number.
          folder: of it.
          whole: whether all its signatures are warm before it is served: while an older one serves,
            there is time. Else the first, and the others are `self._cold`.
        """
        fingerprint = _fingerprint(folder)
        if version in self._failed and self._failed[version][0] == fingerprint:
            return False
        try:
            model = ServedModel(folder, version)
            self._cold = model.warm_up()
            for _ in self._cold if whole else itertools.islice(self._cold, 1):
                pass
        except Exception as error:  # Whatever is wrong with it, the last good one stays.
            sentence = str(error) if isinstance(error, UserError) else _what_failed(folder, error)
            self._failed[version] = (fingerprint, sentence)
            self._metrics.failed_loads.inc()
            log("version can't be served", logging.ERROR, version=version, reason=sentence)
            return False
        self.current = model
        self._metrics.version.set(version)
        log("version is served", version=version, signatures=sorted(model.signatures))
        return True


def _what_failed(folder: pathlib.Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"the SavedModel {folder} can't be run: {reason}"


def _fingerprint(folder: pathlib.Path) -> _Fingerprint:
    """Returns names, sizes and times of a folder's files; less where some go as it is read."""
    told = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:
            continue
        told.append((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return tuple(told)
