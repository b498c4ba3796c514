import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.data.coco_format import read_split
from kmax_tf.data.images import BadExampleError
from kmax_tf.errors import UserError

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
        colors = np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], axis=-1)
        Image.fromarray(colors.astype(np.uint8)).save(self.map_path)

    def read(self):
        self.json_path.write_text(json.dumps(self.content))
        return read_split(self.root, "val2017")

    def load(self, labels, **options):
        (annotation,) = self.read().annotations
        return annotation.load(labels, **options)


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


def test_crowds_may_keep_their_class(tree, labels):
    panoptic = tree.load(labels, treat_crowd_as_ignore=False).panoptic
    np.testing.assert_array_equal(panoptic[IDS == 9], 100)


def test_an_image_without_segments_is_unlabeled(tree, labels):
    tree.content["annotations"][0]["segments_info"] = []
    tree.write_ids(np.zeros_like(IDS))
    assert not tree.load(labels).panoptic.any()


def test_areas_may_be_missing(tree, labels):
    tree.content["annotations"][0]["segments_info"] = [
        {key: value for key, value in info.items() if key != "area"} for info in SEGMENTS
    ]
    assert tree.load(labels).areas


def spoil_ids_not_in_json(tree):
    tree.write_ids(np.where(IDS == 7, 8, IDS))


def spoil_ids_not_in_png(tree):
    tree.write_ids(np.where(IDS == 7, 0, IDS))


def spoil_category(tree):
    tree.content["annotations"][0]["segments_info"] = [{**SEGMENTS[0], "category_id": 77}]
    tree.write_ids(np.where(IDS == 300, 300, 0))


def spoil_area(tree):
    tree.content["annotations"][0]["segments_info"] = [
        {**SEGMENTS[0], "area": 99},
        *SEGMENTS[1:],
    ]


def spoil_duplicate_ids(tree):
    tree.content["annotations"][0]["segments_info"] = [*SEGMENTS, SEGMENTS[0]]


def spoil_map_size(tree):
    tree.write_ids(IDS[:, :3])


def spoil_map_mode(tree):
    Image.fromarray(IDS.astype(np.uint8)).save(tree.map_path)


def spoil_map(tree):
    tree.map_path.write_bytes(tree.map_path.read_bytes()[:-30])


def remove_map(tree):
    tree.map_path.unlink()


def remove_image(tree):
    tree.image_path.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_ids_not_in_json, "a.png: it has 2 pixels of ids that the JSON does not list: 8"),
        (spoil_ids_not_in_png, "a.png: it has no pixel of the segments 7"),
        (spoil_category, "a.png: segment 300 has the category 77"),
        (spoil_area, "a.png: segment 300 covers 2 pixels but the JSON says 99"),
        (spoil_duplicate_ids, "a.png: the JSON lists the segment ids 300 more than once"),
        (spoil_map_size, r"a.png is 3 x 3 but its image .*a.jpg is 4 x 3"),
        (spoil_map_mode, "a.png is a PNG of mode L"),
        (spoil_map, "a.png"),
        (remove_map, "a.png: No such file"),
        (remove_image, "a.jpg: No such file"),
    ],
)
def test_contradictions_are_named(tree, labels, spoil, words):
    spoil(tree)
    with pytest.raises(BadExampleError, match=words) as caught:
        tree.load(labels)
    assert "\n" not in str(caught.value)


def test_more_instances_than_the_divisor_allows_are_refused(tree, labels):
    ids = np.arange(1, 121, dtype=np.int32).reshape(10, 12)
    tree.write_ids(ids)
    Image.new("RGB", (12, 10)).save(tree.image_path)
    tree.content["annotations"][0]["segments_info"] = [
        {"id": int(i), "category_id": 30, "area": 1} for i in ids.ravel()
    ]
    with pytest.raises(BadExampleError, match="more than 99 instances of cat"):
        tree.load(labels)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "text",
        {},
        {"image_id": 1, "file_name": "a.png"},
        {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1}]},
        {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 0, "category_id": 30}]},
        {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1.5, "category_id": 30}]},
        {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [{"id": float("inf"), "category_id": 30}],
        },
        {"image_id": [1], "file_name": "a.png", "segments_info": []},
        {"image_id": 2, "file_name": "a.png", "segments_info": []},
        {"image_id": 1, "file_name": "../../a.png", "segments_info": []},
        {"image_id": 1, "file_name": "/a.png", "segments_info": []},
        {"image_id": 1, "file_name": "", "segments_info": []},
        {"image_id": 1, "file_name": 5, "segments_info": []},
    ],
)
def test_malformed_annotations_are_refused_and_others_kept(tree, entry):
    tree.content["images"].append({"id": 3, "file_name": "a.jpg"})
    good = {"image_id": 3, "file_name": "a.png", "segments_info": []}
    tree.content["annotations"] = [entry, good]
    split = tree.read()
    assert len(split.annotations) == 1
    assert split.refused[0][0] == "annotation 0 of panoptic_val2017.json"


def test_second_annotations_and_images_without_any_are_refused(tree):
    tree.content["annotations"] *= 2
    tree.content["images"] += [{"id": 2, "file_name": "b.jpg"}, {"id": [], "file_name": "c"}, 4]
    split = tree.read()
    assert len(split.annotations) == 1
    assert [name for name, _ in split.refused] == [
        "annotation 1 of panoptic_val2017.json",
        "b.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": [], "annotations": []}, "lists no annotations"),
        ({"annotations": []}, "no list 'images'"),
        ({"images": []}, "no list 'annotations'"),
        ([], "no list 'images'"),
    ],
)
def test_files_without_annotations_are_refused(tree, content, words):
    tree.content = content
    with pytest.raises(UserError, match=f"panoptic_val2017.json.*{words}"):
        tree.read()


def test_missing_and_broken_files_are_named(tree):
    with pytest.raises(UserError, match=r"panoptic_val2017\.json"):
        read_split(tree.root, "val2017")
    for text in ("{", "[" * 100_000, "\0"):
        tree.json_path.write_text(text)
        with pytest.raises(UserError, match="not valid JSON"):
            read_split(tree.root, "val2017")
    tree.image_path.unlink()
    tree.image_path.parent.rmdir()
    with pytest.raises(UserError, match=r"the folder .*val2017 is missing"):
        tree.read()
