"""`kmax demo`: what is finished is not done again, what fails is told. (It runs in end_to_end.)"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmax_tf.cli import demo
from kmax_tf.cli.main import main

Run = Callable[[list[str]], int]


@pytest.fixture
def run_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Returns a function that runs the demo with commands that end so, and gives their names."""

    def run(ends: Run, expected: int, *words: str) -> list[str]:
        commands: list[str] = []

        def process(words: list[str]) -> int:
            commands.append(words[3])
            return ends(words)

        monkeypatch.setattr(demo, "run_process", process)
        monkeypatch.setattr(demo, "predict_held_out", lambda root: None)
        monkeypatch.setattr(demo, "compare_maps", lambda root: None)
        monkeypatch.setattr(demo, "sum_up", lambda root, seconds: None)
        assert main(["demo", "--output", str(tmp_path), *words]) == expected
        return commands

    return run


COMMANDS = ["make-shapes", "convert-dataset", "train", "evaluate", "export"]


def test_a_stage_that_fails_is_named_and_the_demo_continues_there(run_stages, capsys):
    assert run_stages(lambda words: 3 * ("train" in words), 1) == COMMANDS[:3]
    assert "the stage 'train' exited with 3; fix it and run the same" in capsys.readouterr().out
    assert run_stages(lambda words: 0, 0) == COMMANDS[2:]
    assert run_stages(lambda words: 0, 0) == []
    assert capsys.readouterr().out.count("done before") == 2 + len(demo.STAGES)


def test_other_settings_begin_anew(run_stages):
    assert run_stages(lambda words: 0, 0) == COMMANDS
    assert run_stages(lambda words: 0, 0, "--val-images=7") == COMMANDS


def test_a_file_of_somebody_else_is_told_and_kept(run_stages, tmp_path, capsys):
    (tmp_path / "stages.json").write_text("mine")
    assert run_stages(lambda words: 0, 2) == []
    assert f"{tmp_path / 'stages.json'} is there already" in capsys.readouterr().err
    assert (tmp_path / "stages.json").read_text() == "mine"


def test_an_interruption_says_how_to_go_on(run_stages, capsys):
    def interrupt(words):
        raise KeyboardInterrupt

    assert run_stages(interrupt, 130) == COMMANDS[:1]
    error = capsys.readouterr().err
    assert "run the same again, and it continues" in error
    assert error.endswith("kmax: interrupted\n")


def test_an_interruption_ends_the_command_too(tmp_path):
    """Even one that doesn't listen."""
    deaf = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(60); pathlib.Path(sys.argv[2]).touch()"
    )
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from kmax_tf.cli import demo; demo.PATIENCE_SECONDS = 0.1;"
        "demo.run_process([sys.executable, '-c', *sys.argv[1:]])"
    )
    started, survived = tmp_path / "started", tmp_path / "survived"
    words = [sys.executable, "-c", program, deaf, str(started), str(survived)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not started.exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)  # ends when nobody writes there any more
    assert "KeyboardInterrupt" in error
    assert not survived.exists()
