"""Files for test servers: read back, they say what was predicted, in the publisher's ids."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.errors import UserError
from kmax_tf.evaluation.submission import SUBMISSIONS
from kmax_tf.labels import Category, LabelSpace
from tests.reference.panoptic_maps import CAT_1, DIVISOR, DOG_1, DOG_2, LABELS, ROADS, VOID, runs
from tests.reference.panoptic_png import read_panoptic_png

PANOPTIC = runs((DOG_1, 4), (DOG_2, 6), (ROADS, 5), (CAT_1, 3), (VOID, 2))


def prediction() -> dict:
    semantic_scores = np.where(PANOPTIC == DOG_2, 0.5, 0.75).astype(np.float32)
    return {
        "panoptic": PANOPTIC,
        "semantic": PANOPTIC // DIVISOR,
        "semantic_scores": semantic_scores,
        "instance_scores": np.full(PANOPTIC.shape, 0.5, np.float32),
    }


def submit(kind: str, folder, *names: str) -> str:
    submission = SUBMISSIONS[kind](str(folder), LABELS)
    for name in names:
        submission.add(name, None, prediction())
    return submission.finish()


def check_panoptic(json_path, expected_id, expected_name):
    content = json.loads(json_path.read_text())
    (entry,) = content["annotations"]
    assert (entry["image_id"], entry["file_name"]) == (expected_id, expected_name)
    path = json_path.with_suffix("") / expected_name
    segments = entry["segments_info"]
    np.testing.assert_array_equal(read_panoptic_png(path, segments, LABELS), PANOPTIC)
    scores = {(s["category_id"], s["instance"]): s["score"] for s in segments}
    assert scores == {(20, 1): 0.375, (20, 2): 0.25, (1, 0): 0.375, (50, 1): 0.375}


@pytest.mark.parametrize("name", ["000000000139", "000000000139.jpg"])
def test_coco(tmp_path, name):
    said = submit("coco", tmp_path, name)
    path = tmp_path / "panoptic_results.json"
    assert str(path) in said
    check_panoptic(path, 139, "000000000139.png")


def test_images_have_the_ids_of_the_annotations_and_files_in_folders(tmp_path):
    submission = SUBMISSIONS["coco"](str(tmp_path), LABELS)
    for camera, image_id in (("cam1", 7), ("cam2", "second"), ("../cam3", None)):
        submission.add(f"{camera}/0000", image_id, prediction())
    submission.finish()
    content = json.loads((tmp_path / "panoptic_results.json").read_text())
    entries = [(entry["image_id"], entry["file_name"]) for entry in content["annotations"]]
    assert entries == [
        (7, "cam1/0000.png"),
        ("second", "cam2/0000.png"),
        ("cam3/0000", "cam3/0000.png"),
    ]
    for _, name in entries:
        assert (tmp_path / "panoptic_results" / name).exists()
    for name, image_id, said in (("cam1/0000", 8, "the name 'cam1/0000'"), ("a", 7, "the id 7")):
        with pytest.raises(UserError, match=said):
            submission.add(name, image_id, prediction())


def test_names_that_are_no_numbers_stay_names(tmp_path):
    submit("coco", tmp_path, "ADE_val_00000001", "a.b")
    content = json.loads((tmp_path / "panoptic_results.json").read_text())
    assert [entry["image_id"] for entry in content["annotations"]] == ["ADE_val_00000001", "a.b"]


def test_cityscapes(tmp_path):
    submit("cityscapes", tmp_path, "munster_000001_000019_leftImg8bit")
    name = "munster_000001_000019"
    check_panoptic(tmp_path / "panoptic" / "panoptic_results.json", name, f"{name}_panoptic.png")
    with Image.open(tmp_path / "pixel" / f"{name}_pred.png") as image:
        assert image.mode == "L"
        label_ids = np.asarray(image)
    np.testing.assert_array_equal(label_ids, runs((20, 10), (1, 5), (50, 3), (0, 2)))

    lines = (tmp_path / "instance" / f"{name}_pred.txt").read_text().splitlines()
    found = {}
    for line in lines:
        mask, label_id, score = line.split(" ")
        pixels = np.asarray(Image.open(tmp_path / "instance" / mask))
        found[tuple(np.flatnonzero(pixels))] = (int(label_id), float(score))
    assert found == {
        tuple(range(4)): (20, 0.375),
        tuple(range(4, 10)): (20, 0.25),
        tuple(range(15, 18)): (50, 0.375),
    }


@pytest.mark.parametrize("label_id", [0, 300])
def test_label_ids_that_have_no_room_are_an_error(label_id, tmp_path):
    labels = LabelSpace((Category(1, "far", True, (1, 2, 3), label_id),), 2, 0, 100, "mine")
    with pytest.raises(UserError, match=f"'mine' has the original_id {label_id}"):
        SUBMISSIONS["cityscapes"](str(tmp_path), labels)
