"""Checkpoints in a folder of any name.

TensorFlow's own functions take the folder's name as a pattern: in `run[12]` they find none, and
delete those of `run1`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import tensorflow as tf

_SECONDS_BETWEEN_LOOKS = 1.0


def latest_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Returns the prefix of a folder's newest checkpoint; None where there is none."""
    state = tf.train.get_checkpoint_state(os.fspath(folder))
    prefix = str(state.model_checkpoint_path) if state else ""
    return prefix if prefix and tf.io.gfile.exists(f"{prefix}.index") else None


def checkpoints_as_they_come(folder: str | os.PathLike[str], timeout: float) -> Iterator[str]:
    """Yields the prefix of each newest checkpoint of a folder, until none came for so long.

    Args:
      folder: of a run, which may still begin.
      timeout: in seconds.
    """
    last = None
    waiting_since = time.monotonic()
    while time.monotonic() < waiting_since + timeout:
        newest = latest_checkpoint(folder)
        if newest in (None, last):
            time.sleep(min(_SECONDS_BETWEEN_LOOKS, timeout))
            continue
        assert newest is not None
        yield newest
        last, waiting_since = newest, time.monotonic()


class FolderCheckpointManager(tf.train.CheckpointManager):
    """Deletes old checkpoints of its own folder only."""

    def _sweep(self) -> None:
        if not self._max_to_keep:
            return
        names = tf.io.gfile.listdir(self.directory)
        while len(self._maybe_delete) > self._max_to_keep:
            prefix, _ = self._maybe_delete.popitem(last=False)
            old = os.path.basename(prefix)
            for name in names:
                if name == f"{old}.index" or name.startswith(f"{old}.data-"):
                    tf.io.gfile.remove(os.path.join(self.directory, name))
