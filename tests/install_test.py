"""What the installer reads from pip's output."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "requirements" / "install.py"


@pytest.fixture(scope="module")
def installer():
    spec = importlib.util.spec_from_file_location("installer", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reading(installer, tmp_path, monkeypatch):
    monkeypatch.setattr(installer.sysconfig, "get_path", lambda _: str(tmp_path))
    return installer.Reading("kmax_tf", 3)


def test_how_far_pip_is(reading, tmp_path):
    assert reading.sentence(ended=True) == "kmax_tf: nothing to install"
    said = [reading.sentence()]
    (tmp_path / "wheel-1.0.dist-info").mkdir()  # there before
    for line in (
        "Collecting numpy<2 (from kmax-tf==0.1.0)\n",
        "  Downloading https://host/a-b/numpy-1.26.4-cp311.whl (18.0 MB)\n",
        "Progress 9000000 of 18000000\nColl",
        "ecting six\n",
        "  Using cached six-1.17.0-py2.py3-none-any.whl\n",
        "Collecting more\n",
        "Installing collected packages: six, numpy\n",
    ):
        reading.take(line)
        said.append(reading.sentence())
    assert said[:5] == [
        "kmax_tf: starting",
        "kmax_tf: found 1 of about 3 packages, looking for numpy<2",
        "kmax_tf: found 1 of about 3 packages, downloading numpy",
        "kmax_tf: found 1 of about 3 packages, downloading numpy, 9.0 of 18.0 MB",
        "kmax_tf: found 2 of about 3 packages, looking for six",
    ]
    assert said[6] == "kmax_tf: found 3 packages, looking for more"
    assert said[7] == "kmax_tf: installed 0 of 2 packages, installing six"
    (tmp_path / "six-1.17.0.dist-info").mkdir()
    assert reading.sentence() == "kmax_tf: installed 1 of 2 packages, installing numpy"
    reading.take("Successfully installed six-1.17.0 numpy-1.26.4\n")
    assert reading.sentence() == "kmax_tf: installed 2 of 2 packages"


def test_a_failure_shows_what_pip_said_of_it(installer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installer.sys, "prefix", str(tmp_path))
    arguments = ["--no-index", "--find-links", str(tmp_path), "no-such-distribution"]
    assert installer.install(arguments, installer.Reading("it", 0)) == 1
    error = capsys.readouterr().err
    assert "ERROR: No matching distribution found for no-such-distribution" in error
    assert str(tmp_path / "install.log") in error
    assert (tmp_path / "install.log").exists()
