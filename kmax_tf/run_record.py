"""What produced a result: the experiment, versions, git revision, command line, time."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from kmax_tf.config import Experiment, experiment_text
from kmax_tf.files.writing import PathLike, write_atomically
from kmax_tf.version import __version__, installed_version

# Files of a run's folder.
RUN_RECORD = ("experiment.textproto", "provenance.json")
_PACKAGES = ("tensorflow", "tf-models-official", "tf-keras", "tensorflow-addons", "numpy")
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def write_run_record(experiment: Experiment, folder: PathLike) -> None:
    """Writes what a run depends on into its folder.

    Args:
      experiment: goes to experiment.textproto, resolved.
      folder: of the run. provenance.json in it gets versions, git revision, command line and time.

    Raises:
      OutputError: the folder cannot be written.
    """
    run = os.path.exists(os.path.join(folder, "checkpoint"))  # which goes on
    texts = experiment_text(experiment), json.dumps(provenance(), indent=2) + "\n"
    for name, text in zip(RUN_RECORD, texts):
        write_atomically(os.path.join(folder, name), text, own=run)


def provenance() -> dict[str, Any]:
    """Returns what a result of this process comes from, ready for JSON.

    Keys: kmax_tf, python and platform (versions), packages (name: version, null where it isn't
    installed), git_revision and git_dirty (null where the package isn't run from its repository),
    command (list), time (UTC, ISO 8601).
    """
    revision = _git("rev-parse", "HEAD") if _is_repository() else None
    changes = _git("status", "--porcelain", "--untracked-files=no") if revision else None
    return {
        "kmax_tf": __version__,
        "git_revision": revision,
        "git_dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
        "command": sys.argv,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _is_repository() -> bool:
    # Installed into an environment inside somebody's repository, git would answer with theirs.
    top = _git("rev-parse", "--show-toplevel")
    return top is not None and pathlib.Path(top).resolve() == _ROOT


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
