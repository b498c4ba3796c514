"""The scripts of the repository's top level, which an installed package carries inside.

`kmax train` is trainer.py and `kmax evaluate` is evaluator.py, with their own flags, for those who
installed the package without its repository.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

# Sub-command: (script, help).
SCRIPTS = {
    "train": ("trainer.py", "train an experiment (python trainer.py; --help lists its flags)"),
    "evaluate": ("evaluator.py", "evaluate a run (python evaluator.py; --help lists its flags)"),
}

_PATIENCE_SECONDS = 5.0

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def script_path(name: str) -> str:
    """Returns where a top-level script is: in the installed package or in the repository."""
    installed = _PACKAGE / "scripts" / name
    return str(installed if installed.exists() else _PACKAGE.parent / name)


def run_script(command: str, flags: Sequence[str]) -> int:
    """Runs the script of a sub-command with its flags and returns its exit status."""
    script, _ = SCRIPTS[command]
    return run_process([sys.executable, script_path(script), *flags])


def run_process(words: Sequence[str]) -> int:
    """Runs a command and returns its exit status.

    An interruption from a terminal goes to the command as well, which gets some seconds to end.
    """
    process = subprocess.Popen(words)
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
