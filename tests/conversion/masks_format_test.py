"""Masks to segments; what is expected is drawn by hand."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from kmax_tf.conversion.label_pictures import read_label_picture
from kmax_tf.conversion.mask_classes import MaskRules
from kmax_tf.conversion.masks_format import (
    find_mask_splits,
    find_strays,
    panoptic_of_classes,
    read_mask_split,
)
from kmax_tf.errors import BadExampleError, UserError

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
ALL = ("cat", "dog")


@pytest.fixture
def panoptic_of(labels, tmp_path):
    """Reads the segments of an array of values or colors."""

    def read(values, rules):
        Image.fromarray(values).save(tmp_path / "values.png")
        return panoptic_of_classes(read_label_picture(tmp_path / "values.png"), labels, rules)

    return read


def test_connected_regions_are_instances(panoptic_of):
    panoptic, areas = panoptic_of(VALUES, MaskRules(components=ALL))
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


def test_without_components_an_image_has_one_instance_a_class(panoptic_of):
    panoptic, areas = panoptic_of(VALUES, MaskRules())
    np.testing.assert_array_equal(panoptic == 301, VALUES == 30)
    np.testing.assert_array_equal(panoptic == 101, VALUES == 10)
    assert areas == {3: [4], 1: [4], 2: [3]}


def test_small_regions_become_unlabeled(panoptic_of):
    rules = MaskRules(components=ALL, min_area=3)
    panoptic, areas = panoptic_of(VALUES, rules)
    assert set(np.unique(panoptic)) == {0, 301, 200}
    assert areas == {3: [3], 2: [3]}


def test_too_many_regions_are_refused(panoptic_of):
    specks = np.zeros((40, 40), np.uint8)
    specks[::2, ::2] = 30
    with pytest.raises(BadExampleError, match="more than 99 instances of cat"):
        panoptic_of(specks, MaskRules(components=ALL))


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
    Image.new("L", (4, 5)).save(folder / "cat.png")
    with pytest.raises(BadExampleError, match="a rotation in the image's EXIF data"):
        load_b(root, labels)
    Image.new("L", (5, 4)).save(folder / "cat.png", "JPEG")
    with pytest.raises(BadExampleError, match="JPEG, which changes values"):
        load_b(root, labels)


def test_images_without_masks_are_refused(root):
    Image.new("RGB", (5, 4)).save(root / "images" / "a.png")
    write_mask(root / "masks" / "b" / "cat.png", 0, 0)
    split = read_mask_split(str(root), "", MaskRules())
    assert [annotation.name for annotation in split.annotations] == ["a", "b"]
    assert [name for name, _ in split.refused] == ["a.png", "c"]


def test_names_fit_however_they_are_spelt(root, labels):
    composed, apart = (unicodedata.normalize(form, "Größe é") for form in ("NFC", "NFD"))
    images = root / "images"
    for name in (f"{composed}.JPG", "d.jpeg", "e.tif", "f.webp", "g.BMP", "h.1.png"):
        Image.new("RGB", (5, 4)).save(images / name)
    for name in (f"{apart}.PNG", "d.Png", "e.tiff", "f.bmp", "g.gif", "h.1.png"):
        Image.fromarray(VALUES).save(root / "masks" / name)
    write_mask(root / "masks" / "b" / "cat.PNG", 0, 0)
    (root / "masks" / "c").mkdir()
    write_mask(root / "masks" / "c" / "dog.TIF", 0, 0)
    split = read_mask_split(str(root), "", MaskRules(components=ALL))
    names = {annotation.name for annotation in split.annotations}
    assert names == {"a", "b", "c", composed, "d", "e", "f", "g", "h.1"}
    assert not split.refused
    for annotation in split.annotations:
        assert annotation.load(labels).areas


def test_what_belongs_to_nothing_is_told(root):
    (root / "images" / "c.jpg").rename(root / "images" / "c.HEIC")
    for name in ("a.MOV", "a.CR2", "c.HEIC", "notes.txt", "Thumbs.db"):
        (root / "images" / name).write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("c.png", "lost.png"):
        Image.fromarray(VALUES).save(root / "masks" / name)
    write_mask(root / "masks" / "b" / "cat.png", 0, 0)
    (root / "masks" / "b.png").write_bytes((root / "masks" / "a.png").read_bytes())
    split = read_mask_split(str(root), "", MaskRules())
    assert [annotation.name for annotation in split.annotations] == ["a", "c"]
    refused = {os.path.basename(name): reason for name, reason in split.refused}
    assert sorted(refused) == ["a.CR2", "a.MOV", "b", "lost.png"]
    assert "keep one of them" in refused["b"]
    assert "no image in" in refused["lost.png"]
    with pytest.raises(BadExampleError, match=r"c.HEIC is a HEIC photo, which isn't read; convert"):
        split.annotations[1].load(None)


def test_splits_are_folders(root):
    assert find_mask_splits(str(root)) == [""]
    for name in ("val", "train"):
        (root / "images" / name).mkdir()
        (root / "images" / name / "a.jpg").write_bytes((root / "images" / "a.jpg").read_bytes())
    # Folders of images without masks hide no images with masks.
    assert find_mask_splits(str(root)) == [""]
    assert find_strays(str(root), [""]) == []
    for name in ("val", "train"):
        (root / "masks" / name).mkdir()
    with pytest.raises(UserError, match=r"images with masks in .*images and in its folder train"):
        find_mask_splits(str(root))
    # Images without masks hide no splits, but are told.
    (root / "masks" / "a.png").unlink()
    assert find_mask_splits(str(root)) == ["train", "val"]
    strays = find_strays(str(root), ["train", "val"])
    assert [name for name, _ in strays] == ["a.jpg", "b.png", "c.jpg"]
    assert "beside the folders of splits: train, val" in strays[0][1]
    for image in [p for p in (root / "images").iterdir() if p.is_file()]:
        image.unlink()
    assert find_mask_splits(str(root)) == ["train", "val"]
    with pytest.raises(UserError, match="no images"):
        read_mask_split(str(root), "test", MaskRules())
    (root / "masks" / "val").rmdir()
    with pytest.raises(UserError, match=r"images/val have no folder of masks .*--split"):
        find_mask_splits(str(root))
    with pytest.raises(UserError, match=r"no folder .*masks"):
        find_mask_splits(str(root / "images"))
