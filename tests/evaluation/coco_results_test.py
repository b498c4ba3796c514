"""COCO panoptic files: what is written says what it should, and reads back as it was."""

import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.errors import OutputError
from kmax_tf.evaluation import coco_results
from tests.reference.panoptic_maps import (
    CAT_1,
    DOG_1,
    DOG_2,
    DOG_CROWD,
    LABELS,
    ROADS,
    SKIES,
    VOID,
    pairs,
    runs,
)

PANOPTIC = np.array([[DOG_2, DOG_2, ROADS], [ROADS, DOG_2, VOID]], np.int32)


@settings(deadline=None)
@given(st.integers(0, 2**24 - 1))
def test_ids_and_colors_are_inverse(value):
    ids = np.array([[value]])
    rgb = coco_results.id2rgb(ids)
    assert rgb.dtype == np.uint8
    assert int(rgb[0, 0, 0]) + 256 * int(rgb[0, 0, 1]) + 65536 * int(rgb[0, 0, 2]) == value
    np.testing.assert_array_equal(coco_results.rgb2id(rgb), ids)


@pytest.mark.parametrize("value", [-1, 2**24])
def test_ids_beyond_24_bits_are_an_error(value):
    with pytest.raises(ValueError, match="ids must be"):
        coco_results.id2rgb(np.array([[value]]))


def test_segments_info(tmp_path):
    info = coco_results.write_panoptic_png(
        tmp_path / "a.png", PANOPTIC, LABELS, scores={DOG_2: 0.75}
    )
    road, dog = info
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
    written = np.asarray(PIL.Image.open(tmp_path / "a.png"))
    expected = [[dog["id"], dog["id"], road["id"]], [road["id"], dog["id"], 0]]
    np.testing.assert_array_equal(coco_results.rgb2id(written), expected)


def test_files_read_back_as_they_were(tmp_path):
    path, json_path = tmp_path / "a.png", tmp_path / "a.json"
    info = coco_results.write_panoptic_png(path, PANOPTIC, LABELS)
    entry = coco_results.annotation_entry(7, path.name, info)
    coco_results.write_panoptic_json(json_path, [entry], LABELS)
    content = json.loads(json_path.read_text())
    assert content["annotations"][0]["file_name"] == "a.png"
    assert content["annotations"][0]["image_id"] == 7
    assert [category["id"] for category in content["categories"]] == [20, 50, 1, 70]
    read = coco_results.read_panoptic_png(path, content["annotations"][0]["segments_info"], LABELS)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, PANOPTIC)


@settings(deadline=None)
@given(pairs())
def test_round_trip(pair):
    _, prediction = pair
    ids, info = coco_results.encode_panoptic(prediction, LABELS)
    assert len({entry["id"] for entry in info} | {0}) == len(info) + 1
    assert sum(entry["area"] for entry in info) == (ids != 0).sum()
    np.testing.assert_array_equal(coco_results.decode_panoptic(ids, info, LABELS), prediction)


def test_files_of_others_number_instances_in_order():
    info = [
        {"id": 9, "category_id": 20},
        {"id": 3, "category_id": 70},
        {"id": 4, "category_id": 50},
        {"id": 5, "category_id": 20},
        {"id": 6, "category_id": 20, "iscrowd": 1},
    ]
    read = coco_results.decode_panoptic(np.array([[9, 3, 4, 5, 6, 0]]), info, LABELS)
    assert read.tolist() == [[DOG_1, SKIES, CAT_1, DOG_2, DOG_CROWD, VOID]]


def test_unlisted_id_is_an_error():
    with pytest.raises(ValueError, match="doesn't list: 4"):
        coco_results.decode_panoptic(np.array([[3, 4]]), [{"id": 3, "category_id": 20}], LABELS)


def test_unknown_category_is_an_error():
    with pytest.raises(ValueError, match="category 21"):
        coco_results.decode_panoptic(np.array([[3]]), [{"id": 3, "category_id": 21}], LABELS)


def test_nothing_predicted(tmp_path):
    info = coco_results.write_panoptic_png(tmp_path / "a.png", runs((VOID, 5)), LABELS)
    assert info == []
    read = coco_results.read_panoptic_png(tmp_path / "a.png", info, LABELS)
    np.testing.assert_array_equal(read, runs((VOID, 5)))


def test_unwritable_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        coco_results.write_panoptic_png(tmp_path / "file" / "a.png", PANOPTIC, LABELS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
