"""`kmax convert-dataset` of people's own images, as the guide shows it."""

import json

import numpy as np
import pytest
from PIL import Image

import kmax_tf
from kmax_tf.cli.main import main
from kmax_tf.conversion.shapes import write_shapes
from kmax_tf.conversion.shapes_scene import ShapesOptions
from kmax_tf.errors import UserError


@pytest.fixture
def masks(tmp_path):
    """12 images with pictures of classes, one with a mask a segment, one without."""
    rng = np.random.default_rng(0)
    source = tmp_path / "bolts"
    for folder in ("images", "masks", "masks/m"):
        (source / folder).mkdir(parents=True)
    (source / "classes.csv").write_text("name,kind,value\nbolt,thing,1\nbelt,stuff,2\n")
    for name in [*"abcdefghijkl", "m", "n"]:
        noise = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(source / "images" / f"{name}.png")
    for name in "abcdefghijkl":
        values = np.full((40, 60), 2, np.uint8)
        values[5:15, 5:15] = values[20:30, 30:50] = 1
        values[:2] = 0
        Image.fromarray(values).save(source / "masks" / f"{name}.png")
    for name in ("bolt_1", "bolt_2", "belt"):
        mask = np.zeros((40, 60), np.uint8)
        mask[(slice(0, 40) if name == "belt" else slice(3, 20)), :: 1 + len(name) % 2] = 255
        mask[:, 30:] = 0 if name == "bolt_1" else mask[:, 30:]
        Image.fromarray(mask).save(source / "masks" / "m" / f"{name}.png")
    return source


def convert(layout, source, output, *more):
    arguments = ["--source", str(source), "--output", str(output), *more]
    return main(["convert-dataset", layout, *arguments])


def report(output):
    return json.loads((output / "report.json").read_text())


def test_masks_become_records_and_an_experiment(masks, tmp_path, capsys):
    output = tmp_path / "records"
    assert convert("masks", masks, output) == 0
    out = capsys.readouterr().out
    assert "refused n: it has neither" in out
    assert "experiment.textproto trains on them" in out
    reasons = output / "report.json"
    assert out.splitlines()[-1] == f"warning: 1 example left out; the reasons are in {reasons}"
    found = report(output)
    assert {name: split["images"] for name, split in found.items()} == {"train": 12, "val": 1}
    assert sum(split["classes"]["bolt"]["segments"] for split in found.values()) == 26
    experiment = kmax_tf.load_experiment(output / "experiment.textproto")
    assert list(experiment.train_data.crop_size) == [65, 65]
    assert [split.examples for split in experiment.dataset.splits] == [12, 1]
    # It reads what was written: a batch of it is a batch of these images.
    changed = ["train_data.shuffle_buffer=4", "train_data.batch_size=2"]
    experiment = kmax_tf.load_experiment(output / "experiment.textproto", changed)
    images, targets = next(iter(kmax_tf.build_dataset(experiment, training=True)))
    assert images.shape == (2, 65, 65, 3)
    assert set(np.unique(targets["semantic_map"])) <= {0, 1, 2}
    _, targets, raw = next(iter(kmax_tf.build_dataset(experiment, training=False)))
    assert raw["panoptic"].shape == (1, 40, 60)
    assert np.sum(targets["segment_classes"] >= 0) == 3


def test_an_experiment_of_ones_own_is_kept(masks, tmp_path, capsys):
    output = tmp_path / "records"
    output.mkdir()
    (output / "experiment.textproto").write_text("# mine\n")
    assert convert("masks", masks, output, "--hold-out", "0") == 0
    assert "was kept" in capsys.readouterr().out
    assert (output / "experiment.textproto").read_text() == "# mine\n"
    assert list(report(output)) == ["train"]


def test_regions_are_chosen(masks, tmp_path, capsys):
    output = tmp_path / "records"
    assert convert("masks", masks, output, "--components", "--hold-out", "0") == 0
    assert report(output)["train"]["classes"]["bolt"]["segments"] == 14
    assert convert("masks", masks, output, "--components", "belt") != 0
    assert "--components belt is no thing class" in capsys.readouterr().err
    arguments = ["--min-area", "150", "--hold-out", "0"]
    assert convert("masks", masks, output, *arguments) == 0
    assert report(output)["train"]["classes"]["bolt"]["segments"] == 14


def test_coco_format_takes_its_classes_from_the_json(tmp_path):
    source, output = tmp_path / "mine", tmp_path / "records"
    write_shapes(source, "train", 6, ShapesOptions(size=(32, 32)))
    (source / "train2017").rename(source / "pictures")
    (source / "annotations" / "panoptic_train2017").rename(source / "ids")
    (source / "annotations" / "panoptic_train2017.json").rename(source / "labels.json")
    arguments = ["--json", "labels.json", "--maps", "ids", "--images", "pictures"]
    assert convert("coco-format", source, output, *arguments, "--name", "my shapes") == 0
    assert {name: split["images"] for name, split in report(output).items()} == {
        "train": 5,
        "val": 1,
    }
    experiment = kmax_tf.load_experiment(output / "experiment.textproto")
    assert experiment.dataset.name == "my shapes"
    assert [c.name for c in experiment.dataset.classes][:2] == ["circle", "square"]
    assert experiment.dataset.classes[1].original_id == 7


def test_datumaros_panoptic_files_are_read_without_options(tmp_path, capsys):
    source, output = tmp_path / "mine", tmp_path / "records"
    for split in ("train", "val"):
        write_shapes(source, split, 3, ShapesOptions(size=(64, 64), seed=1))
        (source / "images").mkdir(exist_ok=True)
        (source / f"{split}2017").rename(source / "images" / split)
        maps = source / "annotations" / f"panoptic_{split}2017"
        maps.rename(source / "annotations" / f"panoptic_{split}")
        path = source / "annotations" / f"panoptic_{split}2017.json"
        content = json.loads(path.read_text())
        for category in content["categories"]:
            category["isthing"] = 0  # as Datumaro says of all
        path.unlink()
        (source / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    assert convert("auto", source, output) == 0
    assert (
        "COCO panoptic (annotations/panoptic_{split}.json): train, val" in capsys.readouterr().out
    )
    classes = kmax_tf.load_experiment(output / "experiment.textproto").dataset.classes
    assert all(category.thing for category in classes)
    assert convert("auto", source, output, "--stuff", classes[0].name) == 0
    classes = kmax_tf.load_experiment(output / "experiment.textproto").dataset.classes
    assert [category.thing for category in classes][:2] == [False, True]


def test_both_coco_layouts_write_the_same_records(tmp_path):
    source = tmp_path / "mine"
    for split in ("train", "val"):
        write_shapes(source, split, 3, ShapesOptions(size=(32, 32)))
    description = ["--description", "shapes"]
    for layout in ("coco", "coco-format"):
        assert convert(layout, source, tmp_path / layout, *description) == 0
    for split in ("train", "val"):
        sums = [
            (tmp_path / layout / f"{split}.sha256").read_text()
            for layout in ("coco", "coco-format")
        ]
        assert sums[0] == sums[1]
    assert not (tmp_path / "coco" / "experiment.textproto").exists()


def test_splits_are_named_with_or_without_their_year(tmp_path):
    source, output = tmp_path / "mine", tmp_path / "records"
    for split in ("train", "val"):
        write_shapes(source, split, 2, ShapesOptions(size=(32, 32)))
    assert convert("coco-format", source, output, "--split", "val") == 0
    assert list(report(output)) == ["val"]
    assert convert("coco-format", source, output, "--split", "train2017") == 0
    assert list(report(output)) == ["val", "train"]


def test_a_strict_run_stops_and_goes_on_where_it_was(tmp_path, capsys):
    source, output = tmp_path / "mine", tmp_path / "records"
    write_shapes(source, "val", 3, ShapesOptions(size=(32, 32)))
    bad = max((source / "val2017").iterdir())
    arguments = ["--description", "shapes", "--shards", "3", "--split", "val", "--strict"]
    whole = bad.read_bytes()
    bad.unlink()
    assert convert("coco", source, output, *arguments) != 0
    assert bad.name in capsys.readouterr().err
    bad.write_bytes(whole)
    assert convert("coco", source, output, *arguments) == 0
    assert "2 shards kept from an earlier run" in capsys.readouterr().out


def test_many_refusals_are_counted(masks, tmp_path, capsys):
    for path in (masks / "masks").glob("?.png"):
        path.unlink()
    for number in range(20):
        (masks / "images" / f"{number}.png").write_bytes(b"")
    assert convert("masks", masks, tmp_path / "records") == 0
    out = capsys.readouterr().out
    assert out.count("  refused") == 20
    assert "and 13 more: report.json names them all" in out
    assert len(report(tmp_path / "records")["train"]["refused"]) == 33


def test_a_share_that_is_none_is_a_sentence(masks, tmp_path, capsys):
    assert convert("masks", masks, tmp_path / "records", "--hold-out", "1.5") != 0
    assert "--hold-out must be a share" in capsys.readouterr().err


def palette_picture(values, colors, order):
    """Stores a picture of values as a palette of their colors in an order."""
    index = np.argsort(order)[values].astype(np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette([int(c) for color in np.asarray(colors)[order] for c in color])
    return picture


@pytest.mark.parametrize("described", [False, True])
def test_a_palettes_order_means_nothing(masks, tmp_path, described):
    table = "name;Kind;color\r\nbolt;thing;#dc143c\r\nbelt;stuff;#6b8e23\r\n"
    (masks / "classes.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    for name, order in zip("abcdefghijkl", [[0, 2, 1], [1, 0, 2], [2, 1, 0]] * 4):
        path = masks / "masks" / f"{name}.png"
        colors = [(0, 0, 0), (220, 20, 60), (107, 142, 35)]
        palette_picture(np.asarray(Image.open(path)), colors, order).save(path)
    output = tmp_path / "records"
    more = ["--hold-out", "0"]
    if described:
        assert convert("masks", masks, tmp_path / "first", *more) == 0
        more += ["--description", str(tmp_path / "first" / "dataset.textproto")]
    assert convert("masks", masks, output, *more) == 0
    classes = report(output)["train"]["classes"]
    assert classes["bolt"]["segments"] == 26
    assert classes["belt"]["largest"] == 40 * 60 - 2 * 60 - 300


def test_labels_that_teach_nothing_are_an_error(masks, tmp_path, capsys):
    output = tmp_path / "records"
    assert convert("masks", masks, output) == 0
    experiment = kmax_tf.load_experiment(output / "experiment.textproto")
    (output / "experiment.textproto").unlink()
    for path in (masks / "masks").rglob("*.png"):
        Image.new("L", (60, 40)).save(path)
    (masks / "masks" / "m" / "bolt_1.png").unlink()
    (masks / "masks" / "m" / "bolt_2.png").unlink()
    assert convert("masks", masks, output) != 0
    assert "there is no segment in train, val" in capsys.readouterr().err
    assert not (output / "experiment.textproto").exists()
    with pytest.raises(UserError, match="no segment in the records in"):
        kmax_tf.build_dataset(experiment, training=True)
    assert main(["inspect-dataset", str(output), "--examples", "0"]) == 1
    assert "problem: there is no segment in train, val" in capsys.readouterr().out
    # Stuff alone, and a class that doesn't occur, are told.
    Image.new("L", (60, 40), 2).save(masks / "masks" / "a.png")
    assert convert("masks", masks, output, "--hold-out", "0") == 0
    out = capsys.readouterr().out
    assert "warning: no segment of bolt in train" in out
    assert "warning: all segments are of the stuff class belt" in out


def test_pictures_beside_splits_are_left_out_and_told(masks, tmp_path, capsys):
    for folder in ("images", "masks"):
        (masks / folder / "train").mkdir()
        for name in "abc":
            path = masks / folder / f"{name}.png"
            path.rename(masks / folder / "train" / path.name)
    for path in [*(masks / "masks").glob("?.png"), *(masks / "masks" / "m").iterdir()]:
        path.unlink()
    output = tmp_path / "records"
    assert convert("masks", masks, output, "--hold-out", "0") == 0
    assert report(output)["train"]["images"] == 3
    out = capsys.readouterr().out
    assert "refused d.png: it lies in" in out
    assert "11 refused" in out


@pytest.mark.parametrize("name", ["dataset.textproto", "report.json", "train.sha256"])
def test_a_file_in_the_way_is_told_before_the_work(masks, tmp_path, capsys, name):
    output = tmp_path / "records"
    output.mkdir()
    (output / name).write_text("mine")
    assert convert("masks", masks, output) == 2
    assert f"{output / name} is there already" in capsys.readouterr().err
    assert not list(output.glob("*.tfrecord"))
    assert (output / name).read_text() == "mine"
