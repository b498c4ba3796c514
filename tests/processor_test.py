"""When oneDNN is switched on, and where TensorFlow says that it is in use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kmax_tf import processor

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\nbugs\t\t:\n\nprocessor\t: 1\nflags\t\t: fpu\n"
OLD_X86 = "flags : fpu sse2 avx\n"
ARM = "processor : 0\nFeatures : fp asimd sve bf16\n"
SCRIPT = """
import os, pathlib, sys, types
from kmax_tf import processor
from kmax_tf.cli import main
processor._CPU_INFO = pathlib.Path(sys.argv.pop())
def show(*_):
    print(os.environ.get(processor.ONEDNN), "tensorflow" in sys.modules)
    return 0
main.COMMANDS = ("fake",)
sys.modules["kmax_tf.cli.fake"] = types.SimpleNamespace(
    HELP="", __doc__="", add_arguments=lambda parser: None, run=show
)
main.main(["fake"])  # which scripts call, too
"""


def write(tmp_path, text):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (X86, {"fpu", "sse2", "avx2", "fma"}),
        (ARM, {"fp", "asimd", "sve", "bf16"}),
        ("model name : \xb5\n", set()),
    ],
)
def test_features_are_those_of_the_first_core(tmp_path, monkeypatch, text, features):
    monkeypatch.setattr(processor, "_CPU_INFO", write(tmp_path, text))
    assert processor.cpu_features() == features


def test_no_features_where_nobody_says(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "absent")
    assert processor.cpu_features() == frozenset()


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (X86, None, "1"),
        (X86, "0", "0"),
        (X86, "", ""),
        (OLD_X86, None, None),
        (ARM, None, None),
        (ARM, "1", "1"),
    ],
)
def test_onednn_is_switched_on_where_it_is_faster_unless_the_user_chose(
    tmp_path, monkeypatch, text, before, after
):
    monkeypatch.setattr(processor, "_CPU_INFO", write(tmp_path, text))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv(processor.ONEDNN, before or "")
    if before is None:
        monkeypatch.delenv(processor.ONEDNN)
    processor.prefer_onednn()
    assert os.environ.get(processor.ONEDNN) == after


def test_nothing_changes_once_tensorflow_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_CPU_INFO", write(tmp_path, X86))
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    monkeypatch.setenv(processor.ONEDNN, "")
    monkeypatch.delenv(processor.ONEDNN)
    processor.prefer_onednn()
    assert processor.ONEDNN not in os.environ


def test_commands_decide_before_tensorflow(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != processor.ONEDNN}
    command = [sys.executable, "-c", SCRIPT, str(write(tmp_path, X86))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["1 False"], done.stderr
