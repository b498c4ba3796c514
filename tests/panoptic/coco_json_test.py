"""COCO panoptic JSON: every field of every entry is read as what it says, or refused by name."""

from __future__ import annotations

import copy
import json
import math

import pytest

from kmax_tf.errors import UserError
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.coco_json import (
    GROUND_TRUTH,
    PREDICTIONS,
    TRAINING,
    entries,
    parse_categories,
    read_panoptic_json,
)
from kmax_tf.panoptic.entries import Segment

MISSING = object()
CONTENT = {
    "images": [
        {"id": 1, "file_name": "cam1/0.jpg"},
        {"id": 2, "file_name": "cam2/0.jpg"},
    ],
    "annotations": [
        {
            "image_id": 1,
            "file_name": "cam1/0.png",
            "segments_info": [
                {"id": 5, "category_id": 3, "area": 7, "iscrowd": 0, "score": 0.5},
                {"id": 6, "category_id": 4, "area": 1.5, "iscrowd": 1},
            ],
        }
    ],
    "categories": [
        {"id": 3, "name": "dog", "isthing": 1, "color": [1, 2, 3]},
        {"id": 4, "name": "Straße", "isthing": 0},
    ],
}

NO_NUMBERS = ["7", "", True, False, [7], {}, math.nan, math.inf, -math.inf]
NO_WHOLE = [*NO_NUMBERS, 1.5, None, MISSING]
NO_FLAG = ["1", "0", 2, -1, 0.5, [1], {}, None, math.nan]
NO_TEXT = ["", "  ", 7, True, None, [], {}, "\ud800", "a\0b", MISSING]
NO_FILE = [*NO_TEXT, "/etc/0.png", "../0.png", "a/../../0.png", "a\\0.png", "."]
NO_ID = ["", "\ud800", True, None, [1], {}, 1.5, math.nan, math.inf, 2**64, 10**400, MISSING]

# Path of a field -> values that it can't have.
FAULTS = {
    ("images", 1, "id"): NO_ID,
    ("images", 1, "file_name"): NO_FILE,
    ("annotations", 0, "image_id"): NO_ID,
    ("annotations", 0, "file_name"): NO_FILE,
    ("annotations", 0, "segments_info"): [None, {}, "", 7, MISSING],
    ("annotations", 0, "segments_info", 1, "id"): [*NO_WHOLE, 0, -5, 2**24, 10**400],
    ("annotations", 0, "segments_info", 1, "category_id"): [*NO_WHOLE, -1, -2, 2**31, 10**400],
    ("annotations", 0, "segments_info", 1, "area"): [*NO_NUMBERS, -1, 10**400],
    ("annotations", 0, "segments_info", 1, "score"): [*NO_NUMBERS, 10**400],
    ("annotations", 0, "segments_info", 1, "iscrowd"): NO_FLAG,
    ("categories", 1, "id"): [*NO_WHOLE, -1, 2**31],
    ("categories", 1, "name"): NO_TEXT,
    ("categories", 1, "isthing"): [*NO_FLAG, MISSING],
    ("categories", 0, "color"): [
        "red",
        7,
        [1, 2],
        [1, 2, 256],
        [1, 2, -1],
        ["1", 2, 3],
        [1.5, 0, 0],
    ],
}
ENTRIES = [path[:-1] for path in FAULTS]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads all of a file, given as what json.dumps takes or as bytes."""
    monkeypatch.chdir(tmp_path)

    def read(content, use=GROUND_TRUTH, refused=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / "the.json").write_bytes(data)
        found = read_panoptic_json("the.json", use, refused)
        listed = entries(found.categories, "categories", "the.json")
        return found.images, found.annotations, parse_categories(listed, "the.json")

    return read


def changed(path, value):
    content = copy.deepcopy(CONTENT)
    entry = content
    for key in path[:-1]:
        entry = entry[key]
    if value is MISSING:
        del entry[path[-1]]
    else:
        entry[path[-1]] = value
    return content


def test_what_is_right_is_read(read):
    images, (annotation,), (dog, street) = read(CONTENT)
    assert images == {1: "cam1/0.jpg", 2: "cam2/0.jpg"}
    assert (annotation.image_id, annotation.file_name) == (1, "cam1/0.png")
    assert annotation.segments == (Segment(5, 3, 7.0, False, 0.5), Segment(6, 4, 1.5, True, None))
    assert (dog.id, dog.name, dog.thing, dog.color) == (3, "dog", True, (1, 2, 3))
    assert (street.name, street.thing, street.color) == ("Straße", False, None)


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in FAULTS.items() for value in values]
)
def test_what_is_wrong_is_refused_by_name(read, path, value):
    with pytest.raises(UserError, match=path[-1]) as caught:
        read(changed(path, value))
    message = str(caught.value)
    assert len(message) < 250
    if "segments_info" in path[:-1]:
        assert "segments_info[1]" in message
    key, number, *_ = path
    assert message.startswith(f"{key}[{number}] of the.json: ")
    if key != "categories":  # or left out, for the same reason
        refused = []
        read(changed(path, value), TRAINING, refused)
        reason = message.partition(": ")[2]
        assert (f"{key[:-1]} {number} of the.json", reason) in refused


@pytest.mark.parametrize("path", ENTRIES)
@pytest.mark.parametrize("value", [None, 7, "text", [1], True])
def test_an_entry_that_is_no_object_is_refused(read, path, value):
    with pytest.raises(UserError, match="must be an object"):
        read(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        (("images", 1, "id"), 2.0, 2),
        (("annotations", 0, "image_id"), "000000000001", "000000000001"),
        (("annotations", 0, "segments_info", 0, "id"), 5.0, 5),
        (("annotations", 0, "segments_info", 0, "area"), None, None),
        (("annotations", 0, "segments_info", 0, "area"), MISSING, None),
        (("annotations", 0, "segments_info", 0, "score"), -12, -12.0),
        (("annotations", 0, "segments_info", 0, "iscrowd"), True, True),
        (("annotations", 0, "segments_info", 0, "iscrowd"), MISSING, None),
        (("categories", 0, "color"), None, None),
    ],
)
def test_what_has_one_meaning_is_read(read, path, value, meant):
    images, (annotation,), categories = read(changed(path, value))
    if path[0] == "images":
        assert list(images)[1] == meant
    elif path[0] == "categories":
        assert categories[0].color is meant
    elif path[-1] == "image_id":
        assert annotation.image_id == meant
    else:
        name = {"iscrowd": "crowd"}.get(path[-1], path[-1])
        found = getattr(annotation.segments[0], name)
        assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", 1, "id"), 1, r"images.0. and images.1. have one id, 1; keep one"),
        (("images", 1, "id"), 1.0, r"images.0. and images.1. have one id, 1; keep one"),
        (("images", 1, "file_name"), "cam1/./0.jpg", "ids 1 and 2 are one file, cam1/0.jpg"),
        (("annotations",), 2 * CONTENT["annotations"], "annotations.1. have one image_id, 1; keep"),
        (("annotations",), [], "lists no annotations; there is nothing to evaluate"),
        (("categories", 1, "id"), 3, "several categories of the.json have the id 3"),
        (("images",), {"a": 1}, "'images' of the.json must be a list"),
        (("categories",), "dog", "'categories' of the.json must be a list"),
        (("annotations",), {}, "the list 'annotations'"),
        (("annotations",), MISSING, "the list 'annotations'"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(read, path, value, message):
    with pytest.raises(UserError, match=message):
        read(changed(path, value))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_texts_of_any_unicode_are_read(read, encoding):
    assert read(json.dumps(CONTENT, ensure_ascii=False).encode(encoding)) == read(CONTENT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (json.dumps(CONTENT, ensure_ascii=False).encode("latin-1"), "isn't UTF-8 .byte .* is 0xdf"),
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"annotations": [' + b"1" * 5000 + b"x]}", "not valid JSON"),
        (b"[]", "it is a list, as results of detection are"),
        (b'"text"', "must be a JSON object"),
        (b'{"annotations": [{"segmentation": [], "id": 1}]}', "annotations of instances, not pano"),
        (b'{"annotations": [{"caption": "a dog"}]}', "annotations of captions, not panoptic"),
    ],
)
def test_files_of_another_kind_are_refused(read, data, message):
    with pytest.raises(UserError, match=message):
        read(data)
    with pytest.raises(UserError, match=r"cannot read absent.json: No such file"):
        read_panoptic_json("absent.json", GROUND_TRUTH)


def test_uses_differ_where_they_must(read):
    """Training needs the images, predictions may repeat them and list the id 0."""
    no_images = {**CONTENT, "images": []}
    assert read(no_images, GROUND_TRUTH)[0] == {}
    with pytest.raises(UserError, match="lists no images; there is nothing to convert"):
        read(no_images, TRAINING, [])
    refused = []
    for image_id, meant in ((7, ""), ("2", ", which have 2")):
        content = changed(("annotations", 0, "image_id"), image_id)
        assert read(content, GROUND_TRUTH)[1]
        assert not read(content, TRAINING, refused)[1]
        reason = f"image_id {json.dumps(image_id)} is not among the images{meant}"
        assert refused[-3] == ("annotation 0 of the.json", reason)
        assert refused[-2] == ("cam1/0.jpg", "it has no annotation in the.json")
    twice = changed(("annotations", 0, "segments_info", 0, "id"), 0)
    twice["annotations"] *= 2
    assert len(read(twice, PREDICTIONS)[1]) == 2


def test_an_entry_that_is_left_out_leaves_the_others(read):
    content = changed(("images", 0, "file_name"), None)
    content["annotations"].append({"image_id": 2, "file_name": "a.png", "segments_info": 5})
    refused = []
    images, annotations, _ = read(content, TRAINING, refused)
    assert images == {1: "", 2: "cam2/0.jpg"}  # the annotation of 1 isn't of an unknown image
    assert [annotation.image_id for annotation in annotations] == [1]
    assert refused == [
        ("image 0 of the.json", "file_name must be a text, not null"),
        ("annotation 1 of the.json", "segments_info must be a list, not 5"),
    ]


def test_values_are_shown_as_json_and_shortened():
    assert fields.show(None) == "null"
    assert fields.show(True) == "true"
    assert len(fields.show(["a"] * 1000)) == 60


def test_deep_values_are_refused_in_a_sentence(read):
    """Of which some can be parsed, but not written again."""
    for depth in range(900, 1000, 3):
        area = "[" * depth + "]" * depth
        text = json.dumps(CONTENT).replace('"area": 7', f'"area": {area}')
        with pytest.raises(UserError, match=r"area must be a finite number|not valid JSON"):
            read(text.encode())
