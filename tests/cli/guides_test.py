"""The commands and files that the guides to data show do what the guides say."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from tests.reference.dataset_trees import ade20k, cityscapes, coco

GUIDES = pathlib.Path(__file__).parents[2] / "docs" / "guides"
COMMANDS = ("kmax convert-dataset", "kmax inspect-dataset", "kmax make-shapes", "kmax config")


def text_of(guide):
    return (GUIDES / guide).read_text("utf-8")


def commands_of(guide):
    joined = text_of(guide).replace("\\\n", " ")
    found = re.findall(r"^(kmax .+)$|`(kmax [^`\n]+)`", joined, re.MULTILINE)
    commands = [line or inline for line, inline in found]
    # "`kmax convert-dataset coco` reads ..." is a name, not a command.
    names = [command for command in commands if re.fullmatch(r"kmax convert-dataset \S+", command)]
    return [c for c in commands if c.startswith(COMMANDS) and c not in names]


def block_of(guide, start):
    """The block of code that starts so."""
    blocks = re.findall(r"```\w*\n(.*?)```", text_of(guide), re.DOTALL)
    return next(block for block in blocks if block.startswith(start))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def own_data(root):
    """my_data: all that the guide lays out, side by side."""
    image = np.zeros((92, 100, 3), np.uint8)
    # The areas of the JSON: 1200 pixels of the bolt, 8000 of the belt.
    bolt = np.arange(92)[:, np.newaxis] < np.full(100, 12)
    ids = np.where(bolt, 5, 900)
    colors = np.stack([ids & 255, ids >> 8, np.zeros_like(ids)], -1).astype(np.uint8)
    content = block_of("own_data.md", '{\n  "images"')
    assert json.loads(content)["annotations"][0]["segments_info"][0]["area"] == bolt.sum()
    for split in ("train", "val"):
        for folder in (root / split, root / "pictures"):
            write(folder / "left.jpg", image)
        for maps in (root / "annotations" / f"panoptic_{split}", root / "ids" / split):
            write(maps / "left.png", colors)
        for path in (
            root / "annotations" / f"panoptic_{split}.json",
            root / f"labels_{split}.json",
        ):
            path.write_text(content)
    (root / "classes.csv").write_text(block_of("own_data.md", "name,kind"))
    write(root / "images" / "left.jpg", image)
    write(root / "images" / "right.png", image)
    write(root / "masks" / "left.png", np.where(bolt, 1, 3).astype(np.uint8))
    for name, mask in (("bolt_1", bolt), ("bolt_2", bolt[::-1]), ("belt", ~bolt)):
        write(root / "masks" / "right" / f"{name}.png", mask)


def own_instances(root):
    """my_instances, as CVAT writes it, and my_cells."""
    image = np.zeros((40, 50, 3), np.uint8)
    polygon = [5, 5, 20, 5, 20, 20, 5, 20]
    images = [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)]
    annotations = [
        {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon]}
        for number in (1, 2)
    ]
    categories = [{"id": 1, "name": "bolt"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    for split in ("train", "val"):
        path = root / "my_instances" / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        for entry in images:
            write(root / "my_instances" / "images" / split / entry["file_name"], image)
    for name in "ab":
        write(root / "my_cells" / "images" / f"{name}.tif", image)
        ids = np.arange(2000).reshape(40, 50) // 500
        write(root / "my_cells" / "masks" / f"{name}.png", ids.astype(np.uint16))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        coco(tmp_path / "coco", split)
        cityscapes(tmp_path / "cityscapes", split)
        ade20k(tmp_path / "ADEChallengeData2016", split)
    own_data(tmp_path / "my_data")
    own_instances(tmp_path)
    # What a pipeline makes is tested elsewhere.
    monkeypatch.setattr("kmax_tf.conversion.beam_runner.beam_runner", lambda flags: None)
    return tmp_path


@pytest.mark.parametrize("guide", ["datasets.md", "own_data.md"])
def test_commands_work(guide, folder, capsys):
    commands = commands_of(guide)
    assert len(commands) >= 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
        assert "refused" not in capsys.readouterr().out, command
    assert list(folder.rglob("examples_val.png"))
    assert list(folder.rglob("inspection.html"))


def test_the_small_experiment_and_its_trials_are_whole(folder, capsys):
    assert main(["convert-dataset", "masks", "--source=my_data", "--output=records"]) == 0
    (folder / "records" / "small.textproto").write_text(block_of("own_data.md", "base:"))
    joined = text_of("own_data.md").replace("\\\n", " ")
    trials = re.findall(r"^kmax train --config=records/small\.textproto(.*)$", joined, re.MULTILINE)
    assert len(trials) == 3
    for trial in trials:
        changes = [f"--set={change}" for change in re.findall(r"--set (\S+)", trial)]
        assert main(["config", "records/small.textproto", *changes]) == 0, trial
        assert 'name: "bolt"' in capsys.readouterr().out
    # The large one, with what the guide says of fine-tuning.
    changes = ["--set=training.initial_checkpoint=runs/x", "--set=training.initial_weights="]
    assert main(["config", "records/experiment.textproto", *changes]) == 0


def test_a_description_by_hand_is_read(folder):
    (folder / "my_dataset.textproto").write_text(block_of("own_data.md", 'name: "factory"'))
    arguments = ["--source", "my_data", "--output", "out", "--description", "my_dataset.textproto"]
    assert main(["convert-dataset", "coco-format", *arguments]) == 0
