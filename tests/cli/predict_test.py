"""`kmax predict`: what is written where images fail, without a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.config.dataset import read_description
from kmax_tf.export import predictor


class OneThing:
    """Finds a thing in the upper half of each image."""

    labels = read_description("shapes")[0]

    def __call__(self, image):
        category = next(c for c in self.labels.classes if c.thing)
        panoptic = np.full(image.shape[:2], self.labels.void_panoptic_id, np.int32)
        thing = category.id * self.labels.label_divisor + 1
        panoptic[: len(image) // 2] = thing
        return {
            "panoptic": panoptic,
            "segment_ids": np.array([thing], np.int32),
            "segment_scores": np.array([0.5], np.float32),
        }


@pytest.fixture
def predict(monkeypatch, tmp_path):
    monkeypatch.setattr(predictor, "load_predictor", lambda model, maps: OneThing())
    Image.new("RGB", (8, 6), (200, 0, 0)).save(tmp_path / "7.png")
    (tmp_path / "8.png").write_bytes((tmp_path / "7.png").read_bytes()[:40])

    def run(*images):
        output = tmp_path / "out"
        words = ["predict", "--model=any", "--write=panoptic", "--write=instances"]
        paths = [str(tmp_path / image) for image in images]
        return main([*words, f"--output={output}", *paths]), output

    return run


def test_what_could_be_read_is_in_the_joined_files(predict, capsys):
    status, output = predict("8.png", "7.png")
    assert status == 1
    assert "1 of 2 images could not be read" in capsys.readouterr().err.splitlines()[-1]
    annotations = json.loads((output / "predictions.json").read_text())["annotations"]
    assert [entry["image_id"] for entry in annotations] == [7]
    assert [i["image_id"] for i in json.loads((output / "instances.json").read_text())] == [7]


def test_nothing_is_written_where_all_images_fail(predict, capsys):
    status, output = predict("8.png", "9.png")
    assert status == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("kmax: error: 2 of 2 images could not be read")
    assert "results" not in captured.out
    assert not list(output.iterdir())
