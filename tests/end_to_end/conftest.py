"""A tiny demo: the whole system, every stage as a user runs it, shared by this folder's tests."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kmax_tf.cli.main import main
from tests.processes import run_python

# The laptop experiment, made smaller: seconds instead of minutes.
TINY = [
    "train_data.batch_size=4",
    "eval_data.batch_size=4",
    "train_data.crop_size=65,65",
    "eval_data.crop_size=65,65",
    "train_data.min_size=65",
    "train_data.max_size=65",
    "eval_data.min_size=65",
    "eval_data.max_size=65",
    "model.transformer_decoder.block_strides=16,8",
    "losses.instance_discrimination.sample_count=128",
    "training.steps=4",
    "training.steps_per_loop=2",
    "training.summary_interval=2",
    "training.checkpoint_interval=2",
    "training.validation_interval=4",
    "training.optimizer.warmup_steps=1",
]


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """The folder of the demo, with what its commands printed."""

    folder: Path
    output: str

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def images(self) -> list[Path]:
        return sorted((self.folder / "coco" / "val2017").glob("*.jpg"))


def kmax(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command of kmax in this process, which has loaded TensorFlow already."""
    arguments = [str(word) for word in words]
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        status = main(arguments)
    done = subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())
    if check and status:
        raise AssertionError(f"{words} gave {status}:\n{done.stdout}{done.stderr}")
    return done


def train(folder: Path, records: Path, overrides: Sequence[str], check: bool = True) -> str:
    sets = [f"--set={change}" for change in [f"data_dir={records}", *overrides]]
    done = run_python(
        "trainer.py",
        "--config=shapes/laptop.textproto",
        f"--model_dir={folder}",
        *sets,
        check=check,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    folder = tmp_path_factory.mktemp("tiny")
    done = run_python("-m", "kmax_tf.cli.main", "demo", *demo_arguments(folder))
    return TinyRun(folder, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def longer_run(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The run of the demo after two steps more, with an evaluation in training."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(tiny_run.folder, folder)
    return TinyRun(folder, train(folder, tiny_run.records, [*TINY, "training.steps=6"]))


def demo_arguments(folder: Path) -> list[str]:
    sets = [f"--set={change}" for change in TINY]
    return [f"--output={folder}", "--train-images=16", "--val-images=6", *sets]
