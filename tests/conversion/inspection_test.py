import collections
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.conversion.inspection import check_record, find_shards, inspect
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import EncodedImage
from kmax_tf.records.examples import LabeledImage, encode_example
from kmax_tf.records.statistics import Statistics

PNG = tf.io.encode_png(np.zeros((3, 4, 3), np.uint8)).numpy()
# Classes of the fixture `labels`: things 3 and 1, stuff 2 and 5; divisor 100, 0 unlabeled.
LABEL = np.array([[301, 301, 0, 302], [200, 200, 300, 302], [200, 200, 300, 302]], np.int32)


@pytest.fixture
def records(shapes_source, tmp_path):
    output = tmp_path / "records"
    source = ["--source", str(shapes_source), "--output", str(output), "--shards", "2"]
    assert main(["convert-dataset", "coco", *source, "--description", "shapes"]) == 0
    return output


def record(label=LABEL, png=PNG, height=3, width=4):
    return encode_example(LabeledImage("a", EncodedImage(png, "png", height, width), label))


def test_a_record_is_read_and_measured(labels):
    found = check_record(record(), labels)
    assert (found.name, found.height, found.width) == ("a", 3, 4)
    np.testing.assert_array_equal(found.panoptic, LABEL)
    # The crowd of cats, 300, counts for nothing.
    assert found.areas == {3: [2, 3], 2: [4]}
    np.testing.assert_array_equal(found.pixels(), np.zeros((3, 4, 3)))
    assert check_record(record(None), labels).panoptic is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "no tf.train.Example"),
        (b"", "feature image/filename"),
        (record(height=4), "its image is 4 x 3, but it says 4 x 4"),
        (record(height=0), "its size is given as 4 x 0"),
        (record(height=-3, width=-4), "its size is given as -4 x -3"),
        (record(height=2**40, width=2**20), "its size is given"),
        (record(png=PNG[:-20]), "cannot decode a"),
        (record(png=b"GIF89a"), "cannot decode a"),
        (record(LABEL[:2]), "its label has 32 bytes"),
        (record(LABEL + 400), "the id 400 = 4"),
        (record(LABEL + 1), "the id 1 = 0"),
        (record(LABEL * -1), "the id -302 = -4"),
    ],
)
def test_bad_records_say_why(labels, content, words):
    with pytest.raises(BadExampleError, match=words):
        check_record(content, labels)


def test_whole_records_have_no_problems_and_the_converters_counts(records, shapes_labels, capsys):
    assert main(["inspect-dataset", str(records)]) == 0
    out = capsys.readouterr().out
    assert "train: 14 examples in 2 files" in out
    assert "no problems" in out
    for split, count in (("train", 8), ("val", 5)):
        with Image.open(records / f"examples_{split}.png") as sheet:
            # Two examples a row, each a picture of 480 pixels' height.
            assert sheet.height > -(-count // 2) * 480
    written = json.loads((records / "report.json").read_text())["train"]
    found = inspect(find_shards(str(records))["train"], shapes_labels, "train", 1)
    classes = {name: entry for name, entry in written["classes"].items() if entry["segments"]}
    assert found.statistics == Statistics.from_json({**written, "classes": classes})


def test_damage_is_told(records, capsys):
    first, second = sorted(records.glob("val-*.tfrecord"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(bytes(content))
    second.unlink()
    (records / "train.sha256").write_text("")
    output = str(records / "sheets")
    assert main(["inspect-dataset", str(records), "--output", output]) == 1
    out = capsys.readouterr().out
    assert f"of {first} doesn't have its checksum" in out
    assert f"{first} has not the checksum that" in out
    assert "1 shard of val where 2 were written" in out
    assert "train.sha256 is not the one" in out
    assert "4 problems" in out


def test_missing_and_mixed_shards_are_told(records, shapes_labels):
    files = sorted(str(path) for path in records.glob("train-*.tfrecord"))
    shutil.copy(files[0], records / "train-00001-of-00004.tfrecord")
    found = inspect(find_shards(str(records))["train"], shapes_labels, "train", 1)
    assert any("shards of several conversions" in problem for problem in found.problems)
    assert any("3 of 4 shards are missing" in problem for problem in found.problems)


def test_records_of_another_dataset_are_told(records, capsys):
    arguments = ["--split", "val", "--examples", "0", "--description", "cityscapes"]
    assert main(["inspect-dataset", str(records), *arguments]) == 1
    output = capsys.readouterr().out
    assert "no segment of the dataset description 'cityscapes_panoptic'" in output
    assert "label_divisor 256 there, 1000 here; ignore_label 0 there, 255 here" in output


def test_images_known_by_one_name_are_told(records, shapes_labels):
    (file, *_) = find_shards(str(records))["val"]
    found = inspect([file, file], shapes_labels, "val", 1)
    assert [p for p in found.problems if "of several images, which" in p]
    assert not inspect([file], shapes_labels, "val", 1).names - collections.Counter(
        dict.fromkeys(found.names, 1)
    )


def test_a_file_alone_can_be_inspected(records, capsys):
    (file, *_) = sorted(records.glob("val-*.tfrecord"))
    assert main(["inspect-dataset", str(file), "--examples", "2"]) == 0
    assert "val: 2 examples in 1 file," in capsys.readouterr().out


def test_nothing_to_inspect_is_a_sentence(tmp_path, capsys):
    with pytest.raises(UserError, match="no records"):
        find_shards(str(tmp_path))
    assert main(["inspect-dataset", str(tmp_path / "absent")]) != 0
    assert "give a .tfrecord file or a folder" in capsys.readouterr().err
