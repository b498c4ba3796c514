"""Exports for other runtimes give the maps that the run itself gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from kmax_tf.checkpoints.restore import restore_weights
from kmax_tf.config import load_experiment
from kmax_tf.export.formats import client, exporting
from kmax_tf.export.formats.program import Program
from kmax_tf.export.formats.table import FORMATS
from kmax_tf.export.predictor import load_predictor
from kmax_tf.files.images import read_image
from kmax_tf.model.builder import build_model
from kmax_tf.run_record import write_run_record
from tests.end_to_end.agreement_test import EVERY_PIXEL
from tests.end_to_end.conftest import TINY, TinyRun, kmax, train

# An interpreter that has JAX and what this one has; needed where importing TensorFlow with JAX
# beside it would slow down all else.
JAX_PYTHON = os.environ.get("KMAX_JAX_PYTHON", sys.executable)
# Where nothing was learned, a pixel is as much of one mask as of another, and rounding decides.
LONGER = [
    *("training.steps=300", "training.steps_per_loop=50", "training.summary_interval=100"),
    *("training.checkpoint_interval=300", "training.validation_interval=300"),
    *(
        "postprocessing.mask_wise.thing_threshold=0.3",
        "postprocessing.mask_wise.stuff_threshold=0.3",
    ),
]


@pytest.fixture(scope="module")
def trained_run(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that has learned something."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return TinyRun(folder, train(folder, tiny_run.records, [*TINY, *LONGER]))


@pytest.mark.slow
def test_the_program_and_its_client_give_the_maps_of_the_run(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs: list[Program] = []

    def write(program: Program, folder: str) -> list[str]:
        programs.append(program)
        return ["model"]

    def load(path: str):
        return lambda image: {k: v.numpy() for k, v in programs[0].segment(image).items()}

    monkeypatch.setattr(exporting, "writer_of", lambda name: types.SimpleNamespace(write=write))
    monkeypatch.setitem(client.RUNTIMES, "tensorflow", load)
    run = tmp_path / "run"
    run.mkdir()
    for path in (tiny_run.folder / "checkpoint", *tiny_run.folder.glob("ckpt-*")):
        shutil.copy(path, run)
    experiment = load_experiment(tiny_run.folder / "experiment.textproto", [EVERY_PIXEL])
    write_run_record(experiment, run)
    model = build_model(experiment)
    restore_weights(model, str(run))
    export = exporting.export_format(model, experiment, tmp_path / "out", "tensorflow")
    assert sorted(os.listdir(export)) == [
        *("client.py", "experiment.textproto", "labels.json", "model.json")
    ]
    assert json.loads(Path(export, "labels.json").read_text())["label_divisor"] == 256
    segment, predictor = client.Segmenter(export), load_predictor(run)
    for path in tiny_run.images[:3]:
        image = read_image(path)
        found, expected = segment(image), predictor(image)
        assert found.keys() == expected.keys()
        assert len(np.unique(expected["panoptic"])) > 1
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            if values.dtype == np.float32:
                np.testing.assert_allclose(found[name], values, atol=1e-5)
            else:  # that has learned nothing, and is as sure of one center as of another
                assert np.mean(found[name] != values) <= (1e-3 if values.ndim == 2 else 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_runtime_gives_the_maps_of_a_trained_run(
    name: str, trained_run: TinyRun, tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ["export", "--checkpoint", trained_run.folder, "--output", tmp_path, f"--format={name}"]
    python = JAX_PYTHON if name == "stablehlo" else sys.executable
    done = _run(python, "-m", "kmax_tf.cli.main", *words)
    if name == "stablehlo" and _run(python, "-c", "import jax").returncode:
        assert "pip install 'kmax-tf[stablehlo]'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    (tmp_path / "maps").mkdir()
    words = [tmp_path / "1" / "client.py", tmp_path / "maps", *tiny_run.images]
    done = _run(python, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    predictor = load_predictor(trained_run.folder)
    segments = 0
    for path in tiny_run.images:
        found, expected = (
            np.load(tmp_path / "maps" / f"{path.stem}.npz"),
            predictor(read_image(path)),
        )
        assert set(found.files) == expected.keys()
        segments += len(np.unique(expected["panoptic"])) - 1
        for key, values in expected.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(found[key], values, atol=1e-5, err_msg=key)
            else:
                np.testing.assert_array_equal(found[key], values, err_msg=key)
    assert segments > 2 * len(tiny_run.images)


@pytest.mark.slow
def test_integers_lose_little(trained_run: TinyRun, tiny_run: TinyRun, tmp_path: Path) -> None:
    words = ["export", "--checkpoint", trained_run.folder, "--output", tmp_path, "--format=litert"]
    kmax(*words, "--calibration=records")
    about = json.loads((tmp_path / "1" / "model.json").read_text())
    assert about["files"] == ["network.tflite", "merging.tflite"]
    assert about["precision"] == "int8"
    segment = client.Segmenter(tmp_path / "1")
    predictor = load_predictor(trained_run.folder)
    same = [
        np.mean(segment(image)["semantic"] == predictor(image)["semantic"])
        for image in map(read_image, tiny_run.images)
    ]
    assert np.mean(same) > 0.9


def _run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program; in another folder it can't import kmax_tf."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if cwd is not None:
        environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
