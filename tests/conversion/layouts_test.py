"""Small trees as the publishers ship them, converted and read back."""

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.cli.main import main
from kmax_tf.conversion.coco_format import Split
from kmax_tf.conversion.layouts import (
    TreePatterns,
    UnlabeledImage,
    find_splits,
    group_of,
    hold_out,
    plain_name,
)
from kmax_tf.errors import UserError
from tests.reference.dataset_trees import IDS, ade20k, cityscapes, coco


def expected(ids, void):
    """Panoptic ids by segment id; whatever isn't there is unlabeled."""
    return np.vectorize(lambda i: ids.get(int(i), void))(IDS)


# By hand, from the publishers' classes: record class id * divisor + instance.
EXPECTED = {
    # person is 1, stop sign 12, grass-merged 126.
    "coco": ({300: 257, 7: 258, 9: 12 * 256 + 1, 70000: 126 * 256}, 0),
    # car 13, road 0, sky 10.
    "cityscapes": ({7: 13001, 300: 13002, 70000: 0, 5: 10000}, 255000),
    # bed is 7 + 1, wall 0 + 1, flag 149 + 1 (a thing).
    "ade20k": ({7: 8001, 300: 8002, 70000: 1000, 5: 150001}, 0),
}
# Groups of persons: unlabeled where one trains; metrics need their class.
CROWDS = {"coco": {5: 256}, "cityscapes": {9: 11000}, "ade20k": {}}
TREES = {"coco": coco, "cityscapes": cityscapes, "ade20k": ade20k}


def convert(layout, root, *more):
    output = root.parent / "records"
    arguments = ["--source", str(root), "--output", str(output), *more]
    return main(["convert-dataset", layout, *arguments]), output


def features(output, split):
    (file,) = output.glob(f"{split}-*.tfrecord")
    (record,) = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return tf.train.Example.FromString(record).features.feature


@pytest.fixture
def root(tmp_path):
    return tmp_path / "tree"


@pytest.mark.parametrize("layout", TREES)
def test_trees_convert_bit_for_bit(layout, root):
    images = {split: TREES[layout](root, split) for split in ("train", "val")}
    status, output = convert(layout, root)
    assert status == 0
    ids, void = EXPECTED[layout]
    is_png = layout == "cityscapes"
    for split, image in images.items():
        found = features(output, split)
        label = found["image/segmentation/class/encoded"].bytes_list.value[0]
        panoptic = np.frombuffer(label, "<i4").reshape(6, 8)
        of_split = ids if split == "train" else {**ids, **CROWDS[layout]}
        np.testing.assert_array_equal(panoptic, expected(of_split, void))
        assert found["image/encoded"].bytes_list.value[0] == image.read_bytes()
        name = f"aachen/{image.stem}" if layout == "cityscapes" else image.stem
        assert found["image/filename"].bytes_list.value[0] == name.encode()
        assert found["image/format"].bytes_list.value[0] == (b"png" if is_png else b"jpeg")
        for name, number in (("height", 6), ("width", 8), ("channels", 3)):
            assert found[f"image/{name}"].int64_list.value == [number]
        assert found["image/segmentation/class/format"].bytes_list.value == [b"raw"]


@pytest.mark.parametrize("layout", TREES)
def test_test_splits_are_images_only(layout, root):
    TREES[layout](root, "test")
    status, output = convert(layout, root, "--split", "test")
    assert status == 0
    found = features(output, "test")
    assert not [key for key in found if "segmentation" in key]
    assert found["image/height"].int64_list.value == [6]


def test_cityscapes_label_ids_serve_too(root):
    cityscapes(root, suffix="")
    status, output = convert("cityscapes", root, "--split", "train", "--keep-crowd-class")
    assert status == 0
    label = features(output, "train")["image/segmentation/class/encoded"].bytes_list.value[0]
    wanted = np.where(IDS == 9, 11000, expected(*EXPECTED["cityscapes"]))
    np.testing.assert_array_equal(np.frombuffer(label, "<i4").reshape(6, 8), wanted)


def test_ade20k_may_lie_in_its_archives_folder(root):
    ade20k(root / "ADEChallengeData2016")
    assert convert("ade20k", root, "--split", "train")[0] == 0


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("coco", "panoptic_train2017.json"),
        ("cityscapes", "csCreatePanopticImgs"),
        ("ade20k", "ade20k_panoptic_train.json"),
        ("masks", "classes.csv"),
        ("coco-format", "panoptic_{split}.json"),
    ],
)
def test_another_folder_is_named_in_a_sentence(layout, words, root, capsys):
    root.mkdir()
    assert convert(layout, root)[0] != 0
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_city_of_an_image_id_cannot_leave_the_folder(root, capsys):
    cityscapes(root)
    path = root / "gtFine" / "cityscapes_panoptic_train_trainId.json"
    path.write_text(path.read_text().replace('"aachen_000000_000019"', '"../../x_1_2"'))
    assert convert("cityscapes", root, "--split", "train")[0] != 0
    assert "city_sequence_frame" in capsys.readouterr().err


def test_splits_are_named_without_the_year():
    assert [plain_name(name) for name in ("train2017", "val", "2017")] == ["train", "val", "2017"]


def test_holding_out_is_a_partition_that_hardly_changes():
    def names(split):
        return [annotation.name for annotation in split.annotations]

    images = [UnlabeledImage(f"{i}.jpg", str(i)) for i in range(50)]
    kept, held_out = hold_out(Split(images), 0.2)
    assert len(names(held_out)) == 10
    assert sorted(names(kept) + names(held_out)) == sorted(image.name for image in images)
    _, again = hold_out(Split(images[:-1][::-1]), 0.2)
    assert len(set(names(again)) & set(names(held_out))) >= 8
    for share in (0.0, 0.99):
        kept, held_out = hold_out(Split(images[:2]), share)
        assert (len(names(kept)), len(names(held_out))) == (1, 1)


def test_groups_are_held_out_together():
    images = [UnlabeledImage("", f"{day}/cam{i % 5}_{i:02}") for day in "ab" for i in range(50)]
    for pattern in (r"cam\d", r"cam(\d)", "folder"):
        of = {image.name: group_of(image.name, pattern) for image in images}
        assert len(set(of.values())) == (2 if pattern == "folder" else 5)
        chosen = set()
        for seed in range(8):
            kept, held_out = hold_out(Split(images), 0.2, seed, pattern)
            theirs = {of[annotation.name] for annotation in held_out.annotations}
            assert theirs
            assert not theirs & {of[annotation.name] for annotation in kept.annotations}
            assert len(kept.annotations) + len(held_out.annotations) == len(images)
            chosen.add(min(theirs))
        assert len(chosen) > 1
    for pattern, words in (
        ("^a", "fits no part of b/"),
        ("(", "no regular"),
        ("cam", "one group"),
    ):
        with pytest.raises(UserError, match=words):
            hold_out(Split(images), 0.2, 0, pattern)


@pytest.mark.parametrize(
    ("pattern", "files", "splits"),
    [
        (
            "{split}/p.json",
            ["val/p.json", "train/p.json", "test/q.json", "stray"],
            ["train", "val"],
        ),
        ("a/{split}/b/p.json", ["a/x/b/p.json", "a/y/p.json"], ["x"]),
        ("v_{split}_1/{split}.json", ["v_a_1/a.json", "v_b_1/a.json"], ["a"]),
        ("{split}-{split}.json", ["a-a.json", "a-b.json", "a.b-a.b.json"], ["a", "a.b"]),
        ("[x]{split}.json", ["[x]a.json", "xb.json"], ["a"]),
        (
            TreePatterns().json,
            [f"annotations/{name}" for name in ("panoptic_val2017.json", "panoptic_train2017.json")]
            + ["annotations/panoptic_x.txt", "annotations/other.json"],
            ["train2017", "val2017"],
        ),
        ("labels.json", [], ["train"]),
    ],
)
def test_splits_are_found_in_any_part_of_a_path(tmp_path, pattern, files, splits):
    root = tmp_path / "{split}"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert find_splits(str(root), TreePatterns(json=pattern)) == splits
    with pytest.raises(UserError, match="give --json"):
        find_splits(str(root), TreePatterns(json="labels_{split}.json"))


def test_splits_of_one_name_are_not_dropped(root, capsys):
    for name in ("train2014", "train2017"):
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"panoptic_{name}.json").touch()
    assert convert("coco-format", root)[0] != 0
    assert "train2014 and train2017 would both be called train" in capsys.readouterr().err
