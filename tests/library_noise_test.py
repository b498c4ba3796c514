"""Known lines of TensorFlow's libraries are dropped while it is loaded; nothing else, ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

KNOWN = "E cuda_dnn.cc] Unable to register cuDNN factory: Attempting to register factory for plugin"
# As libraries write: to the descriptor, not through Python.
TENSORFLOW = f"""
import os, types, warnings
def list_physical_devices():
    os.write(2, b"E failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (303)\\n")
    os.write(2, b"E failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (999)\\n")
config = types.SimpleNamespace(list_physical_devices=list_physical_devices)
os.write(2, b"{KNOWN} cuDNN when one has already been registered\\n")
warnings.warn_explicit("will stop", FutureWarning, "f.py", 1, "google.auth")
warnings.warn("pkg_resources is deprecated as an API. See elsewhere", UserWarning)
os.write(2, b"E an error of its own\\n")
warnings.warn("a warning of its own")
"""
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SILENT = "import types; config = types.SimpleNamespace(list_physical_devices=list)"
PROGRAM = "from kmax_tf.library_noise import quiet_libraries; quiet_libraries(); import tensorflow"


def errors_of(folder: Path, tensorflow: str, program: str, status: int = 0) -> str:
    """Returns what a program writes to standard error where TensorFlow is a module of this text."""
    (folder / "tensorflow.py").write_text(tensorflow)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stderr


def test_only_known_lines_are_dropped(tmp_path: Path) -> None:
    said = errors_of(tmp_path, TENSORFLOW, PROGRAM)
    assert "E an error of its own\n" in said
    assert "UserWarning: a warning of its own" in said
    assert "(999)" in said
    for noise in ("cuDNN", "google.auth", "will stop", "pkg_resources", "(303)"):
        assert noise not in said


def test_later_lines_are_left_alone(tmp_path: Path) -> None:
    said = errors_of(tmp_path, SILENT, f"{PROGRAM}, os; os.write(2, b'{KNOWN}')")
    assert said == KNOWN


@pytest.mark.parametrize(
    ("program", "dropped"),
    [
        ("import kmax_tf; kmax_tf.UserError; import tensorflow", True),
        ("import kmax_tf; import tensorflow; kmax_tf.UserError", False),
        (f"import os; os.environ[{LEVEL!r}] = '0'; import kmax_tf; kmax_tf.UserError", False),
    ],
)
def test_other_programs_are_spared_known_lines_unless_they_say_otherwise(
    tmp_path: Path, program: str, dropped: bool
) -> None:
    level = f"import os; print(os.environ.get({LEVEL!r}), file=sys.stderr)"
    said = errors_of(tmp_path, TENSORFLOW, f"import sys; {program}; import tensorflow; {level}")
    for noise in ("cuDNN", "will stop", "pkg_resources"):
        assert (noise in said) != dropped
    assert "E an error of its own\n" in said
    assert "cuInit" not in said  # the program may hide devices first
    assert said.splitlines()[-1] == ("2" if dropped else "0" if LEVEL in program else "None")


def test_processes_that_are_started_do_not_warn_either(tmp_path: Path) -> None:
    warning = "import warnings; warnings.warn_explicit('x', FutureWarning, 'f', 1, 'google.auth')"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {warning!r}])"
    assert errors_of(tmp_path, SILENT, f"{PROGRAM}; {child}") == ""


@pytest.mark.parametrize(
    ("last_words", "status"),
    [("import os; os.write(2, b'F no AVX here'); os.abort()", -6), ("raise ImportError('no')", 1)],
)
def test_the_last_words_of_a_load_that_fails_are_shown(
    tmp_path: Path, last_words: str, status: int
) -> None:
    said = errors_of(tmp_path, last_words, PROGRAM, status)
    assert "F no AVX here" in said or "ImportError: no\n" in said
