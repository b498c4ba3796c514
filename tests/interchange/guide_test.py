"""The commands that the guide shows do what it says."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from kmax_tf.cli.main import main
from tests.interchange.scenes import write_predictions

GUIDE = pathlib.Path(__file__).parents[2] / "docs/guides/label_train_predict_correct.md"


def test_commands_work(tmp_path, monkeypatch, capsys):
    write_predictions(tmp_path, 6)
    (tmp_path / "images").rename(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    joined = GUIDE.read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"^(?:kmax|cp) .+$", joined, re.MULTILINE)
    done = 0
    for command in commands:
        words = shlex.split(command)
        if command.startswith("cp "):
            pathlib.Path(words[3]).symlink_to(tmp_path / words[2])
        elif words[1] == "convert-predictions" or "corrected" in words:
            if words[2] == "compare":  # as if nothing had been changed
                pathlib.Path("export.json").write_bytes(pathlib.Path(words[4]).read_bytes())
            assert main(words[1:]) == 0, command
            done += 1
    assert done == 3
    assert "refused" not in capsys.readouterr().out
    assert pathlib.Path("records_2/experiment.textproto").is_file()


def test_supervision_makes_coco_of_yolo(tmp_path, monkeypatch, capsys):
    pytest.importorskip("supervision", reason="pip install supervision")
    from PIL import Image

    for folder in ("images", "labels"):
        (tmp_path / "yolo" / folder / "train").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (60, 40)).save(tmp_path / f"yolo/images/train/{number}.png")
        (tmp_path / f"yolo/labels/train/{number}.txt").write_text(
            "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n1 0.6 0.6 0.9 0.6 0.9 0.9\n"
        )
    (tmp_path / "yolo/data.yaml").write_text("names: [bolt, nut]\nnc: 2\n")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    exec(next(block for block in blocks if "from_yolo" in block), {})
    words = ["--source=export", "--output=records", "--hold-out=0", "--workers=1"]
    assert main(["convert-dataset", "auto", *words]) == 0
    said = capsys.readouterr().out
    assert "3 images, 6 segments" in said
    assert "refused" not in said


def test_supervision_gets_the_predictions(tmp_path, monkeypatch):
    supervision = pytest.importorskip("supervision", reason="pip install supervision")
    write_predictions(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(next(block for block in blocks if "import detections" in block), names)
    assert isinstance(names["found"], supervision.Detections)
