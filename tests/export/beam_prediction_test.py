"""Prediction as a pipeline: with a stand-in for Apache Beam, and with Beam itself where it is slow.

Beam needs older versions of Pillow and others than TensorFlow has here, so the slow test installs
it into an environment of its own, on top of this one.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.export import predictor
from tests import beam_stand_in
from tests.cli.one_thing import OneThing
from tests.processes import ROOT


def pictures(folder):
    """Images of two sizes, one of them bad."""
    folder.mkdir()
    for number in range(5):
        size = (8 + number % 2, 6)
        Image.new("RGB", size, (9 * number, 0, 99)).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes((folder / "1.png").read_bytes()[:50])


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs `kmax predict`: status, and what it says."""
    export = predictor.Export(tmp_path, OneThing.labels, OneThing().identity)
    # A module's function, so that it can be pickled with what calls it.
    monkeypatch.setattr(predictor, "load_predictor", load)
    monkeypatch.setattr(predictor, "read_export", lambda path: export)

    def predict(output, *words):
        images = str(tmp_path / "in")
        status = main(["predict", f"--output={tmp_path / output}", "--model=any", *words, images])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return predict


def load(model, needed):
    assert list(needed) == ["panoptic"]
    return OneThing()


def test_a_pipeline_writes_what_this_machine_does(run, monkeypatch, tmp_path):
    beam_stand_in.install(monkeypatch)
    monkeypatch.delitem(sys.modules, "kmax_tf.export.beam_prediction", raising=False)
    pictures(tmp_path / "in")
    status, said = run("there", "--runner=beam", "--beam-flags=--runner=FlinkRunner --x='a b'")
    assert status == 1
    assert beam_stand_in.Pipeline.flags == ["--runner=FlinkRunner", "--x=a b"]
    assert f"cannot decode {tmp_path / 'in' / 'bad.png'}" in said
    assert said.splitlines()[-1].startswith("kmax: error: 1 of 6 images could not be read")
    assert run("here")[0] == 1
    assert written(tmp_path / "there") == written(tmp_path / "here")
    assert "5 images finished before" in run("there", "--runner=beam")[1]


def test_a_video_is_refused_and_beam_is_asked_for(run, monkeypatch, tmp_path):
    pictures(tmp_path / "in")
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "kmax_tf.export.beam_prediction", raising=False)
    status, said = run("out", "--runner=beam")
    assert (status, "pip install 'kmax-tf[beam]'" in said) == (2, True)
    status, said = run("out", "--runner=beam", str(tmp_path / "clip.mp4"))
    assert (status, "a pipeline predicts no videos" in said) == (2, True)


# Runs `kmax predict` where Beam is; load_predictor is the test's.
PROGRAM = """
import sys
from kmax_tf.cli.main import main
from kmax_tf.export import predictor
from tests.cli.one_thing import OneThing
from tests.export.beam_prediction_test import load
predictor.load_predictor = load
predictor.read_export = lambda path: predictor.Export(path, OneThing.labels, OneThing().identity)
sys.exit(main(["predict", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_the_direct_runner_writes_what_this_machine_does(run, tmp_path):
    pictures(tmp_path / "in")
    python = environment_with_beam(tmp_path / "beam")
    words = ["--model=any", tmp_path / "in", f"--output={tmp_path / 'there'}", "--runner=beam"]
    done = subprocess.run(
        [python, "-c", PROGRAM, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "1 of 6 images could not be read" in done.stderr
    assert run("here")[0] == 1
    assert written(tmp_path / "there") == written(tmp_path / "here")


def environment_with_beam(folder: Path) -> Path:
    """Makes an environment that has Beam, and else what this one has; returns its Python."""
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "this.pth").write_text("\n".join(site.getsitepackages()))
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "apache-beam"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, f"Apache Beam can't be installed: {done.stderr}"
    return python
