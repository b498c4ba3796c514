import pytest

from kmax_tf.config.dataset import read_description
from kmax_tf.conversion.descriptions import (
    classes_of_categories,
    description_text,
    with_splits,
)
from kmax_tf.errors import UserError
from kmax_tf.panoptic.entries import CategoryEntry

ENTRIES = [
    CategoryEntry(7, 'a "quoted" näme\\', True, (1, 2, 3)),
    CategoryEntry(0, "belt", False),
    CategoryEntry(255, "nut", True, (255, 255, 255)),
]
SPLIT = {"images": 5, "shards": 2, "checksum": "ab"}


def read(tmp_path, text):
    path = tmp_path / "dataset.textproto"
    path.write_text(text, "utf-8")
    return read_description(str(path))


def test_a_description_is_read_back(tmp_path):
    labels, _ = read(tmp_path, description_text("my data", ENTRIES, 1000))
    assert (labels.name, labels.num_ids, labels.ignore_label) == ("my data", 4, 0)
    assert labels.label_divisor == 1000
    found = {c.id: (c.name, c.thing, c.original_id) for c in labels.classes}
    assert found == {i: (e.name, e.thing, e.id) for i, e in enumerate(ENTRIES, 1)}
    assert labels.classes[0].color == (1, 2, 3)


def test_splits_are_added_once_and_change_nothing_else(tmp_path):
    plain = description_text("mine", ENTRIES, 256)
    once = with_splits(plain, {"train": SPLIT})
    twice = with_splits(once, {"train": SPLIT, "val": SPLIT})
    assert twice.count("splits {") == 2
    assert read(tmp_path, twice)[0] == read(tmp_path, plain)[0]


def test_classes_of_a_coco_json():
    categories = [
        {"id": 30, "name": "cat", "isthing": 1, "color": [1, 2, 3], "supercategory": "x"},
        {"id": 0, "name": " grass ", "isthing": 0},
    ]
    assert classes_of_categories(categories, "a.json") == [
        CategoryEntry(30, "cat", True, (1, 2, 3)),
        CategoryEntry(0, "grass", False),
    ]


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        (None, "no list 'categories'"),
        ([], "no list 'categories'"),
        ([5], r"categories\[0\] of a.json"),
        ([{"id": 1, "name": "cat"}], "isthing; .*or give --description"),
        ([{"id": 1, "name": "a\nb", "isthing": 1}], "no name"),
        ([{"id": i, "name": "a", "isthing": 1} for i in (1, 2)], "two classes of name a"),
    ],
)
def test_categories_that_are_none_are_named(categories, words):
    """What can be wrong with an entry is told in panoptic/coco_json_test.py."""
    with pytest.raises(UserError, match=words):
        classes_of_categories(categories, "a.json")
