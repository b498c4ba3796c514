import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.conversion.coco_format import read_split
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.panoptic.png import encode_ids

# Segment ids 7 (cat), 300 (cat), 70000 (grass), 9 (crowd of dogs); 0 unlabeled.
IDS = np.array([[7, 7, 300, 0], [70000, 70000, 300, 9], [70000, 70000, 9, 9]], np.int32)


def segment(segment_id, category_id, crowd=0):
    area = int((segment_id == IDS).sum())
    return {"id": segment_id, "category_id": category_id, "area": area, "iscrowd": crowd}


SEGMENTS = [segment(300, 30), segment(7, 30), segment(70000, 20), segment(9, 10, crowd=1)]


class Tree:
    """A dataset of one image that tests spoil."""

    def __init__(self, root):
        self.root = root
        self.json_path = root / "annotations" / "panoptic_val2017.json"
        self.map_path = root / "annotations" / "panoptic_val2017" / "a.png"
        self.image_path = root / "val2017" / "a.jpg"
        for path in (self.map_path, self.image_path):
            path.parent.mkdir(parents=True)
        self.content = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 3, "width": 4}],
            "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": SEGMENTS}],
        }
        Image.new("RGB", (4, 3)).save(self.image_path)
        self.write_ids(IDS)

    def write_ids(self, ids):
        self.map_path.write_bytes(encode_ids(ids))

    def read(self):
        self.json_path.write_text(json.dumps(self.content))
        return read_split(self.root, "val2017")

    def load(self, labels):
        (annotation,) = self.read().annotations
        return annotation.load(labels)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_instances_are_numbered_in_the_order_of_the_json(tree, labels):
    example = tree.load(labels)
    expected = [[302, 302, 301, 0], [200, 200, 301, 0], [200, 200, 0, 0]]
    np.testing.assert_array_equal(example.panoptic, expected)
    assert example.panoptic.dtype == np.int32
    assert example.areas == {3: [2, 2], 2: [4]}
    assert example.name == "a"


@pytest.mark.parametrize(
    ("ids", "segments", "words"),
    [
        (
            np.where(IDS == 7, 8, IDS),
            SEGMENTS,
            "a.png: it has 2 pixels of ids that the JSON does not list: 8",
        ),
        (np.where(IDS == 7, 0, IDS), SEGMENTS, "a.png: it has no pixel of the segments 7"),
        (
            np.where(IDS == 300, 300, 0),
            [{**SEGMENTS[0], "category_id": 77}],
            "a.png: segment 300 has the category 77",
        ),
        (
            IDS,
            [{**SEGMENTS[0], "area": 99}, *SEGMENTS[1:]],
            "a.png: segment 300 covers 2 pixels but the JSON says 99",
        ),
        (
            IDS,
            [*SEGMENTS, SEGMENTS[0]],
            "a.png: the JSON lists the segment ids 300 more than once",
        ),
        (IDS[:, :3], SEGMENTS, r"a.png is 3 x 3 but its image .*a.jpg is 4 x 3"),
        (
            np.arange(1, 121, dtype=np.int32).reshape(10, 12),
            [{"id": i, "category_id": 30, "area": 1} for i in range(1, 121)],
            "more than 99 instances of cat",
        ),
    ],
)
def test_contradictions_are_named(tree, labels, ids, segments, words):
    tree.write_ids(ids)
    if ids.shape == (10, 12):
        Image.new("RGB", (12, 10)).save(tree.image_path)
    tree.content["annotations"][0]["segments_info"] = segments
    with pytest.raises(BadExampleError, match=words) as caught:
        tree.load(labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["map_path", "image_path"])
def test_missing_files_are_named(tree, labels, missing):
    path = getattr(tree, missing)
    path.unlink()
    with pytest.raises(BadExampleError, match=f"{path.name}: No such file"):
        tree.load(labels)


def test_images_without_annotation_are_refused(tree):
    """And what the JSON's reader refuses, of which panoptic/coco_json_test.py tells."""
    tree.content["images"] += [{"id": 2, "file_name": "b.jpg"}, {"id": 6}]
    split = tree.read()
    assert len(split.annotations) == 1
    assert split.refused == [
        ("image 2 of panoptic_val2017.json", "it has no 'file_name'"),
        ("b.jpg", f"it has no annotation in {tree.json_path}"),
    ]


def test_one_file_under_two_names_is_an_error(tree):
    tree.content["images"].append({"id": 2, "file_name": "a.JPG"})
    tree.content["annotations"] *= 2
    tree.content["annotations"][1] = {**tree.content["annotations"][0], "image_id": 2}
    with pytest.raises(UserError, match=r"ids 1 and 2 are one file, .*a\.jpg;"):
        tree.read()


def test_numbers_and_names_are_different_ids(tree):
    tree.content["images"] = [{"id": 1, "file_name": "a.jpg"}, {"id": "1", "file_name": "b.jpg"}]
    tree.content["annotations"][0]["image_id"] = "1"
    (annotation,) = tree.read().annotations
    assert (annotation.name, annotation.source_id) == ("b", "1")


def test_an_image_is_known_by_its_path(tree):
    """Frames of two cameras have the same names."""
    files = ["cam1/0000.png", "cam2/0000.png", "./cam2/b.png", "b.jpg", "b.png", "b.jpg.png"]
    tree.content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(files)],
        "annotations": [
            {"image_id": i, "file_name": "a.png", "segments_info": []} for i in range(len(files))
        ],
    }
    annotations = tree.read().annotations
    names = ["cam1/0000", "cam2/0000", "cam2/b", "b.jpg", "b.png", "b.jpg.png"]
    assert [annotation.name for annotation in annotations] == names
    assert [annotation.source_id for annotation in annotations] == [*range(len(files))]
    assert annotations[1].image_path == str(tree.root / "val2017" / "cam2" / "0000.png")


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("e\u0301.png", "\u00e9.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("a.PNG", "a.png"),
        ("\u00e9/a.Png", "e\u0301/a.png"),
    ],
)
def test_files_are_found_under_accents_and_endings_written_otherwise(tree, labels, there, asked):
    for folder, path in (("val2017", tree.image_path), (tree.map_path.parent, tree.map_path)):
        (tree.root / folder / there).parent.mkdir(exist_ok=True)
        path.rename(tree.root / folder / there)
    tree.content["images"][0]["file_name"] = asked
    tree.content["annotations"][0]["file_name"] = asked
    assert tree.load(labels).areas


def test_missing_folders_are_named(tree):
    tree.image_path.unlink()
    tree.image_path.parent.rmdir()
    with pytest.raises(UserError, match=r"the folder .*val2017 is missing; .*json needs it$"):
        tree.read()
    (tree.root / "val2017.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"val2017 is missing; .*; unpack .*val2017\.zip$"):
        tree.read()
