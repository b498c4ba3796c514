"""`kmax make-shapes` and `kmax convert-dataset`, as a user runs them one after the other."""

import json

import pytest

from kmax_tf.cli.main import main


@pytest.fixture
def source(tmp_path):
    arguments = ["--train", "5", "--val", "3", "--size", "32", "--seed", "4"]
    assert main(["make-shapes", "--output", str(tmp_path / "source"), *arguments]) == 0
    return tmp_path / "source"


def convert(source, output, *more):
    arguments = ["--source", str(source), "--output", str(output), "--description", "shapes"]
    return main(["convert-dataset", "coco", *arguments, *more])


def test_records_report_and_description(source, tmp_path, capsys):
    output = tmp_path / "records"
    assert convert(source, output, "--shards", "2") == 0
    assert "val: 3 images" in capsys.readouterr().out
    assert len(list(output.glob("train-*-of-00002.tfrecord"))) == 2
    assert 'name: "shapes"' in (output / "dataset.textproto").read_text()
    report = json.loads((output / "report.json").read_text())
    assert {split: entry["images"] for split, entry in report.items()} == {"train": 5, "val": 3}
    assert convert(source, output, "--shards", "2", "--split", "val2017") == 0
    assert "2 shards kept from an earlier run" in capsys.readouterr().out


def test_bad_examples_are_told_or_stop(source, tmp_path, capsys):
    bad = sorted((source / "val2017").iterdir())[0]
    bad.unlink()
    assert convert(source, tmp_path / "a", "--split", "val") == 0
    out = capsys.readouterr().out
    assert "val: 2 images" in out
    assert "1 refused" in out
    assert f"refused {bad.stem}: cannot read {bad}" in out
    assert convert(source, tmp_path / "b", "--split", "val", "--strict") != 0
    assert bad.name in capsys.readouterr().err


def test_a_source_without_annotations_is_one_sentence(tmp_path, capsys):
    assert convert(tmp_path, tmp_path / "records") != 0
    error = capsys.readouterr().err
    assert "panoptic_train2017.json" in error
    assert "Traceback" not in error
