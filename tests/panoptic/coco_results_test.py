"""COCO panoptic files: what is written says what it should, and reads back as it was."""

import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings

from kmax_tf.panoptic import coco_results
from tests.reference.panoptic_maps import DOG_2, LABELS, ROADS, VOID, pairs, runs
from tests.reference.panoptic_png import read_panoptic_png

PANOPTIC = np.array([[DOG_2, DOG_2, ROADS], [ROADS, DOG_2, VOID]], np.int32)


def write(folder, panoptic, **options):
    """Writes a map; returns what the JSON says of it."""
    entry = coco_results.write_annotation(str(folder), "a", 7, panoptic, LABELS, **options)
    coco_results.write_panoptic_json(folder / "a.json", [entry], LABELS)
    content = json.loads((folder / "a.json").read_text())
    assert content["annotations"] == [entry]
    assert (entry["image_id"], entry["file_name"]) == (7, "a.png")
    assert [category["id"] for category in content["categories"]] == [20, 50, 1, 70]
    return entry["segments_info"]


def test_segments_info(tmp_path):
    road, dog = write(tmp_path, PANOPTIC, scores={DOG_2: 0.75})
    assert {**dog, "id": 0} == {
        "id": 0,
        "category_id": 20,
        "iscrowd": 0,
        "isthing": 1,
        "area": 3,
        "bbox": [0, 0, 2, 2],
        "name": "dog",
        "instance": 2,
        "score": 0.75,
    }
    assert (road["category_id"], road["isthing"], road["area"]) == (1, 0, 2)
    assert "score" not in road
    colors = np.asarray(PIL.Image.open(tmp_path / "a.png")).astype(int)
    expected = [[dog["id"], dog["id"], road["id"]], [road["id"], dog["id"], 0]]
    np.testing.assert_array_equal(colors @ [1, 256, 65536], expected)


@settings(deadline=None)
@given(pairs())
def test_files_read_back_as_they_were(tmp_path_factory, pair):
    _, prediction = pair
    folder = tmp_path_factory.mktemp("files")
    info = write(folder, prediction)
    assert len({entry["id"] for entry in info} | {0}) == len(info) + 1
    assert sum(entry["area"] for entry in info) == (prediction != VOID).sum()
    read = read_panoptic_png(folder / "a.png", info, LABELS)
    np.testing.assert_array_equal(read, prediction)


def test_nothing_predicted(tmp_path):
    assert write(tmp_path, runs((VOID, 5))) == []
    read = read_panoptic_png(tmp_path / "a.png", [], LABELS)
    np.testing.assert_array_equal(read, runs((VOID, 5)))


@pytest.mark.parametrize(("name", "image_id"), [("000139", 139), ("a/0000", "a/0000")])
def test_an_image_without_an_id_has_its_name(tmp_path, name, image_id):
    entry = coco_results.write_annotation(str(tmp_path), name, None, PANOPTIC, LABELS)
    assert (entry["image_id"], entry["file_name"]) == (image_id, f"{name}.png")
