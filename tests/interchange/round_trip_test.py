"""Label, train, predict, correct, train again: what went out comes back in as records."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.cli.main import main
from kmax_tf.config.dataset import read_description
from kmax_tf.records.examples import decode_example
from tests.interchange.label_studio_test import exported
from tests.interchange.scenes import LABELS, write_predictions

NAMES = {category.id: category.name for category in LABELS.classes}


def segments(panoptic, names, divisor):
    """Class and mask of each segment."""
    return sorted(
        (names[value // divisor], (panoptic == value).tobytes())
        for value in np.unique(panoptic[panoptic > 0]).tolist()
    )


def records_of(source, output, *more):
    """Converts a folder, and returns the segments of each image by its name, and its report."""
    words = [f"--source={source}", f"--output={output}", "--hold-out=0", "--workers=1", *more]
    assert main(["convert-dataset", "auto", *words]) == 0
    labels, _ = read_description(str(output / "dataset.textproto"))
    names = {category.id: category.name for category in labels.classes}
    found = {}
    for path in output.glob("*.tfrecord"):
        for record in tf.data.TFRecordDataset(str(path)):
            example = decode_example(record)
            name = example["image_id"].numpy().decode()
            panoptic = example["panoptic"].numpy()
            found[name] = segments(panoptic, names, labels.label_divisor)
    return found, json.loads((output / "report.json").read_text())


@pytest.mark.parametrize("kind", ["run lengths", "polygons", "Label Studio"])
def test_predictions_become_records_to_the_pixel(kind, tmp_path, capsys):
    maps = write_predictions(tmp_path, 8, 11)
    words = [f"--predictions={tmp_path / 'predictions'}", f"--images={tmp_path / 'images'}"]
    more = ["--polygons=0"] if kind == "polygons" else []
    sent = tmp_path / "sent"
    out = [f"--output={sent}", *more]
    assert main(["convert-predictions", "coco-instances", *words, *out]) == 0
    path = sent / "annotations" / "instances_predictions.json"
    back = path
    if kind == "Label Studio":
        out = [f"--output={tmp_path / 'tasks'}"]
        assert main(["convert-predictions", "label-studio", *words, *out]) == 0
        tasks = json.loads((tmp_path / "tasks" / "tasks.json").read_text("utf-8"))
        back = tmp_path / "export.json"
        back.write_text(json.dumps(exported(tasks)))
    corrected = tmp_path / "corrected"
    out = [f"--output={corrected / 'annotations' / 'instances_train.json'}"]
    compare = ["convert-predictions", "compare", f"--sent={path}", f"--returned={back}", *out]
    assert main(compare) == 0
    assert " prediction, 0 corrected, 0 drawn, 0 predictions deleted" in capsys.readouterr().out
    shutil.copytree(tmp_path / "images", corrected / "images")
    found, report = records_of(corrected, tmp_path / "records")
    names = [f"cam {number % 2}/frame é{number}" for number in range(8)]
    assert found == {name: segments(p, NAMES, 100) for name, p in zip(names, maps)}
    assert report["train"]["refused"] == []
    count = sum(map(len, found.values()))
    assert report["train"]["counts"]["labels of the origin prediction"] == count
