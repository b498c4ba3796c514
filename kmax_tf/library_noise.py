"""Silences what libraries say at import that no user can act on: known lines, and nothing else."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Optional

# What TensorFlow's libraries write to the file descriptor as they are loaded, as errors although
# its wheels always do so; a level that hides these (3) would hide all real errors for good.
KNOWN_LINES = (
    r"Unable to register cu(DNN|FFT|BLAS) factory: Attempting to register factory for plugin",
    r"computation placer already registered\. Please check linkage",
    r"failed call to cuInit: .*\(303\)",  # there is no NVIDIA driver
    r"^WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR$",
)
# Warnings of Python: (beginning of the message, category, module).
KNOWN_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    ("", FutureWarning, "google.api_core._python_version_support"),
    ("", FutureWarning, "google.auth"),
    ("", FutureWarning, "google.oauth2"),
    ("pkg_resources is deprecated as an API", UserWarning, ""),
    ("pkg_resources is deprecated as an API", DeprecationWarning, ""),
)

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# A process of its own, so that the last words of one that dies while it loads a library are shown.
_FILTER = """
import re, sys
known = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not known.search(line.rstrip()):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def quiet_libraries(look_for_devices: bool = True) -> None:
    """Silences known lines of libraries, in this process and in those that it starts.

    Args:
      look_for_devices: TensorFlow looks for them once it is loaded, so that what it says of those
        that aren't there is a known line; otherwise it does when it computes, if it does.
    """
    os.environ.setdefault(_LEVEL, "2")
    options = []
    _ignore_known_warnings()
    for message, category, module in KNOWN_WARNINGS:
        options.append(f"ignore:{message}:{category.__name__}:{module}")
    os.environ.setdefault("PYTHONWARNINGS", ",".join(options))
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _TensorFlowFinder(look_for_devices))


def _ignore_known_warnings() -> None:
    for message, category, module in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", re.escape(message), category, re.escape(module))


def quiet_tensorflow() -> None:
    """Has TensorFlow load without known lines in somebody else's program, who wants its results.

    Nothing is done where TensorFlow is loaded already, or where the program has set how much it
    tells. Devices aren't looked for: the program may want to hide some first.
    """
    if "tensorflow" not in sys.modules and _LEVEL not in os.environ:
        os.environ[_LEVEL] = "2"
        sys.meta_path.insert(0, _TensorFlowFinder(look_for_devices=False))


@contextlib.contextmanager
def without_known_lines() -> Iterator[None]:
    """Drops known lines from what this process and its children write to standard error.

    Where that is closed, or Python runs inside another program, nothing is dropped.
    """
    if sys.stderr is None or "python" not in os.path.basename(sys.executable or ""):
        yield
        return
    sys.stderr.flush()
    ours = os.dup(2)
    reader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER, "|".join(KNOWN_LINES)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # an interruption isn't for it
    )
    assert reader.stdin is not None
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(ours, 2)
        os.close(ours)
        reader.wait()


class _TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, once, as the others would, and has it loaded without the known lines."""

    def __init__(self, look_for_devices: bool):
        self._look_for_devices = look_for_devices

    def find_spec(
        self,
        name: str,
        path: Optional[Sequence[str]],
        target: Optional[types.ModuleType] = None,
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Returns how to load TensorFlow; nothing of other modules."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_quietly(module: types.ModuleType) -> None:
                with without_known_lines(), warnings.catch_warnings():
                    _ignore_known_warnings()
                    load(module)
                    if self._look_for_devices:
                        module.config.list_physical_devices()

            spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec
