"""Masks to segments; what is expected is drawn by hand."""

import numpy as np
import pytest
from PIL import Image

from kmax_tf.data.images import BadExampleError
from kmax_tf.data.masks_format import (
    MaskRules,
    find_mask_splits,
    panoptic_of_classes,
    read_mask_split,
)
from kmax_tf.errors import UserError

# Values of the fixture `labels` (divisor 100): cat 30 and dog 10 are things 3 and 1; grass 20 and
# sky 50 are stuff 2 and 5.
VALUES = np.array(
    [
        [30, 30, 0, 30, 20],
        [30, 0, 0, 255, 20],
        [0, 10, 0, 10, 20],
        [10, 0, 0, 0, 10],
    ],
    np.uint8,
)
ALL = frozenset({"cat", "dog"})


def test_connected_regions_are_instances(labels):
    panoptic, areas = panoptic_of_classes(VALUES, labels, MaskRules(components=ALL))
    # Diagonal neighbours are connected; unlabeled 0 and 255 are 0.
    expected = [
        [301, 301, 0, 302, 200],
        [301, 0, 0, 0, 200],
        [0, 101, 0, 102, 200],
        [101, 0, 0, 0, 102],
    ]
    np.testing.assert_array_equal(panoptic, expected)
    assert panoptic.dtype == np.int32
    assert areas == {3: [3, 1], 1: [2, 2], 2: [3]}


def test_without_components_an_image_has_one_instance_a_class(labels):
    panoptic, areas = panoptic_of_classes(VALUES, labels, MaskRules())
    np.testing.assert_array_equal(panoptic == 301, VALUES == 30)
    np.testing.assert_array_equal(panoptic == 101, VALUES == 10)
    assert areas == {3: [4], 1: [4], 2: [3]}


def test_small_regions_become_unlabeled(labels):
    rules = MaskRules(components=ALL, min_area=3)
    panoptic, areas = panoptic_of_classes(VALUES, labels, rules)
    assert set(np.unique(panoptic)) == {0, 301, 200}
    assert areas == {3: [3], 2: [3]}


def test_colors_stand_for_classes(labels):
    table = {category.original_id: category.color for category in labels.classes}
    colors = np.array([[table.get(int(v), (0, 0, 0)) for v in row] for row in VALUES], np.uint8)
    rules = MaskRules(by_color=True, components=ALL)
    wanted, _ = panoptic_of_classes(VALUES, labels, rules)
    np.testing.assert_array_equal(panoptic_of_classes(colors, labels, rules)[0], wanted)
    with pytest.raises(BadExampleError, match="give every class its color"):
        panoptic_of_classes(colors, labels, MaskRules())
    colors[0, 0] = (9, 9, 9)
    with pytest.raises(BadExampleError, match="of no class: #090909"):
        panoptic_of_classes(colors, labels, rules)


def test_grey_saved_as_color_serves(labels):
    grey = np.repeat(VALUES[..., np.newaxis], 4, axis=-1)
    wanted, _ = panoptic_of_classes(VALUES, labels, MaskRules())
    np.testing.assert_array_equal(panoptic_of_classes(grey, labels, MaskRules())[0], wanted)


def test_values_of_no_class_and_too_many_regions_are_refused(labels):
    with pytest.raises(BadExampleError, match="values that are of no class: 31, 33"):
        panoptic_of_classes(np.array([[31, 33, 30]], np.uint16), labels, MaskRules())
    specks = np.zeros((40, 40), np.uint8)
    specks[::2, ::2] = 30
    with pytest.raises(BadExampleError, match="more than 99 instances of cat"):
        panoptic_of_classes(specks, labels, MaskRules(components=ALL))


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a.jpg", "b.png", "c.jpg"):
        Image.new("RGB", (5, 4)).save(tmp_path / "images" / name)
    Image.fromarray(VALUES).save(tmp_path / "masks" / "a.png")
    (tmp_path / "masks" / "b").mkdir()
    return tmp_path


def write_mask(path, rows, columns, value=255, shape=(4, 5), mode=None):
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = value
    image = Image.fromarray(mask)
    (image.convert(mode) if mode else image).save(path)


def load_b(root, labels):
    split = read_mask_split(str(root), "", MaskRules())
    return next(a for a in split.annotations if a.name == "b").load(labels)


def test_a_mask_a_segment(root, labels):
    folder = root / "masks" / "b"
    write_mask(folder / "grass.png", slice(0, 2), slice(0, 5), mode="1")
    write_mask(folder / "grass_2.png", slice(3, 4), slice(0, 5), value=1)
    write_mask(folder / "cat 1.png", slice(0, 3), slice(0, 3))
    write_mask(folder / "cat-02.png", slice(1, 2), slice(1, 2), mode="RGB")
    write_mask(folder / "dog.png", slice(2, 3), slice(4, 5), mode="P")
    alpha = np.zeros((4, 5, 4), np.uint8)
    alpha[0, 4, 3] = 200
    Image.fromarray(alpha).save(folder / "dog.3.png")
    example = load_b(root, labels)
    # Instances by name: cat 1, cat-02; dog.3 sorts before dog.png. What is small is in front.
    expected = [
        [301, 301, 301, 200, 101],
        [301, 302, 301, 200, 200],
        [301, 301, 301, 0, 102],
        [200, 200, 200, 200, 200],
    ]
    np.testing.assert_array_equal(example.panoptic, expected)
    assert example.areas == {3: [8, 1], 1: [1, 1], 2: [8]}


def test_masks_that_cannot_be_are_named(root, labels):
    folder = root / "masks" / "b"
    for name, words, options in (
        ("horse_1.png", "named after no class.*cat, dog", {}),
        ("cat_1.png", "is empty, or hidden", {"value": 0}),
        ("cat_2.png", "labels must have the size of their image", {"shape": (5, 5)}),
    ):
        write_mask(folder / name, slice(0, 1), slice(0, 1), **options)
        with pytest.raises(BadExampleError, match=words):
            load_b(root, labels)
        (folder / name).unlink()
    Image.new("L", (5, 4)).save(folder / "cat.png", "JPEG")
    with pytest.raises(BadExampleError, match="JPEG, which changes values"):
        load_b(root, labels)


def test_images_without_masks_are_refused(root):
    Image.new("RGB", (5, 4)).save(root / "images" / "a.png")
    write_mask(root / "masks" / "b" / "cat.png", 0, 0)
    split = read_mask_split(str(root), "", MaskRules())
    assert [annotation.name for annotation in split.annotations] == ["a", "b"]
    assert [name for name, _ in split.refused] == ["a.png", "c"]


def test_splits_are_folders(root):
    assert find_mask_splits(str(root)) == [""]
    for name in ("val", "train"):
        (root / "images" / name).mkdir()
        for image in (root / "images").glob("*.jpg"):
            (root / "images" / name / image.name).write_bytes(image.read_bytes())
    for image in [p for p in (root / "images").iterdir() if p.is_file()]:
        image.unlink()
    assert find_mask_splits(str(root)) == ["train", "val"]
    with pytest.raises(UserError, match="no images"):
        read_mask_split(str(root), "test", MaskRules())
    with pytest.raises(UserError, match=r"no folder .*masks"):
        find_mask_splits(str(root / "images"))
