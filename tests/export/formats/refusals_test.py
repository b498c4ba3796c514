"""What `kmax export --format` refuses, in one sentence and before it takes time."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.errors import UserError
from kmax_tf.export.formats.calibration import Calibration
from kmax_tf.export.formats.table import FORMATS


def export(*words):
    return main(["export", "--checkpoint=none", "--output=none", *words])


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_extra_is_named(name, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert export(f"--format={name}") == 2
    printed = capsys.readouterr().err
    assert f"which is not installed: pip install 'kmax-tf[{name}]'" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration=images"], "--calibration is for --format litert"),
        (["--format=onnx", "--calibration=images"], "--calibration is for --format litert"),
        (["--format=onnx", "--signatures=compact"], "--signatures is for SavedModels; it does"),
        (["--format=litert", "--precision=bfloat16"], "--precision is for SavedModels; it does"),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    assert export(*words) == 2
    assert message in capsys.readouterr().err


def test_a_calibration_set_has_some_images(experiment, tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        Calibration(str(tmp_path / "none"), experiment)
    for number in range(3):
        if number < 2:
            with pytest.raises(UserError, match=f"has {number} image(s)?, of which no range"):
                Calibration(str(tmp_path), experiment)
        Image.new("RGB", (40 + number, 30)).save(tmp_path / f"{number}.png")
    images = list(Calibration(str(tmp_path), experiment))
    assert [image.shape for image in images] == [(1, 65, 65, 3)] * 3


def test_calibration_by_records_takes_those_of_training(experiment):
    calibration = Calibration("records", experiment)
    assert calibration.count == 14
    images = list(calibration)
    assert len(images) == 14
    assert images[0].shape == (1, 65, 65, 3)
    assert not np.array_equal(images[0], images[-1])


def test_a_broken_image_is_named(experiment, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.png"):
        list(Calibration(str(tmp_path), experiment))
