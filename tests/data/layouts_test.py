"""Small trees as the publishers ship them, converted and read back."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.data.coco_format import Split
from kmax_tf.data.layouts import TreePatterns, UnlabeledImage, find_splits, hold_out, plain_name
from kmax_tf.errors import UserError

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (3, 4, 3), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))
# Segment ids, of which 70000 needs all three channels.
IDS = np.array(
    [
        [7, 7, 7, 7, 300, 300, 300, 300],
        [7, 7, 7, 7, 300, 300, 300, 300],
        [70000, 70000, 70000, 300, 9, 9, 0, 0],
        [70000, 70000, 70000, 70000, 9, 9, 0, 0],
        [70000, 70000, 70000, 70000, 5, 5, 5, 5],
        [70000, 70000, 70000, 70000, 5, 5, 5, 5],
    ],
    np.int32,
)


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_ids(path, ids):
    write_png(path, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8))


def write_jpeg(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGE).save(path, quality=95)


def segments(*infos):
    """Entries of (id, category_id, crowd)."""
    return [
        {"id": i, "category_id": c, "iscrowd": crowd, "area": int((i == IDS).sum()), "bbox": []}
        for i, c, crowd in infos
    ]


def write_json(path, image_id, image_name, map_name, infos):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "images": [{"id": image_id, "file_name": image_name, "width": 8, "height": 6}],
                "annotations": [
                    {"image_id": image_id, "file_name": map_name, "segments_info": infos}
                ],
                "categories": [],
            }
        )
    )


def coco(root, split="train"):
    """The category ids are COCO's: person 1, stop sign 13, grass-merged 193."""
    image = root / f"{split}2017" / "000000000009.jpg"
    write_jpeg(image)
    if split != "test":
        folder = root / "annotations"
        write_ids(folder / f"panoptic_{split}2017" / "000000000009.png", IDS)
        infos = segments((300, 1, 0), (7, 1, 0), (9, 13, 0), (5, 1, 1), (70000, 193, 0))
        write_json(
            folder / f"panoptic_{split}2017.json",
            9, "000000000009.jpg", "000000000009.png", infos,
        )  # fmt: skip
    return image


def cityscapes(root, split="train", suffix="_trainId"):
    """Cars, a road and a person group; the JSON's image names are of no file, as published."""
    name = "aachen_000000_000019"
    image = root / "leftImg8bit" / split / "aachen" / f"{name}_leftImg8bit.png"
    write_png(image, IMAGE)
    car, road, person, sky = (13, 0, 11, 10) if suffix else (26, 7, 24, 23)
    infos = segments((7, car, 0), (300, car, 0), (70000, road, 0), (9, person, 1), (5, sky, 0))
    stem = root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}"
    write_ids(stem / f"{name}_gtFine_panoptic.png", IDS)
    write_json(
        stem.with_name(stem.name + ".json"),
        name, f"{name}_gtFine_leftImg8bit.png", f"{name}_gtFine_panoptic.png", infos,
    )  # fmt: skip
    return image


def ade20k(root, split="train"):
    """Two beds, a wall, other-objects; areas are those before things were painted over stuff."""
    folder = {"train": "training", "val": "validation", "test": "testing"}[split]
    name = f"ADE_{split}_00000001"
    image = root / "images" / folder / f"{name}.jpg"
    write_jpeg(image)
    if split == "test":
        return image
    infos = segments((7, 7, 0), (300, 7, 0), (70000, 0, 0), (9, 255, 0), (5, 149, 0), (999, 3, 0))
    infos[2]["area"] = 40
    write_ids(root / f"ade20k_panoptic_{split}" / f"{name}.png", IDS)
    write_json(root / f"ade20k_panoptic_{split}.json", name, f"{name}.jpg", f"{name}.png", infos)
    return image


def expected(ids):
    """Panoptic ids by segment id; whatever isn't there is unlabeled."""
    return lambda void: np.vectorize(lambda i: ids.get(int(i), void))(IDS)


# By hand, from the publishers' classes: record class id * divisor + instance.
EXPECTED = {
    # person is 1, stop sign 12, grass-merged 126; the crowd of persons is unlabeled.
    "coco": (expected({300: 257, 7: 258, 9: 12 * 256 + 1, 70000: 126 * 256}), 0),
    # car 13, road 0, sky 10.
    "cityscapes": (expected({7: 13001, 300: 13002, 70000: 0, 5: 10000}), 255000),
    # bed is 7 + 1, wall 0 + 1, flag 149 + 1 (a thing).
    "ade20k": (expected({7: 8001, 300: 8002, 70000: 1000, 5: 150001}), 0),
}
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
    of_pixels, void = EXPECTED[layout]
    is_png = layout == "cityscapes"
    for split, image in images.items():
        found = features(output, split)
        label = found["image/segmentation/class/encoded"].bytes_list.value[0]
        panoptic = np.frombuffer(label, "<i4").reshape(6, 8)
        np.testing.assert_array_equal(panoptic, of_pixels(void))
        assert found["image/encoded"].bytes_list.value[0] == image.read_bytes()
        assert found["image/filename"].bytes_list.value[0] == image.stem.encode()
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
    of_pixels, void = EXPECTED["cityscapes"]
    wanted = np.where(IDS == 9, 11000, of_pixels(void))
    np.testing.assert_array_equal(np.frombuffer(label, "<i4").reshape(6, 8), wanted)


def test_ade20k_may_lie_in_its_archives_folder(root):
    ade20k(root / "ADEChallengeData2016")
    assert convert("ade20k", root, "--split", "train")[0] == 0


def test_areas_of_coco_are_checked(root, capsys):
    coco(root)
    path = root / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["area"] += 1
    path.write_text(json.dumps(content))
    assert convert("coco", root, "--split", "train")[0] != 0
    assert "segment 300 covers 9 pixels but the JSON says 10" in capsys.readouterr().err


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


def test_packed_maps_are_named(root, capsys):
    coco(root)
    maps = root / "annotations" / "panoptic_train2017"
    shutil.rmtree(maps)
    maps.with_suffix(".zip").write_bytes(b"PK")
    assert convert("coco", root, "--split", "train")[0] != 0
    assert "unpack" in capsys.readouterr().err


def test_city_of_an_image_id_cannot_leave_the_folder(root, capsys):
    cityscapes(root)
    path = root / "gtFine" / "cityscapes_panoptic_train_trainId.json"
    path.write_text(path.read_text().replace('"aachen_000000_000019"', '"../../x_1_2"'))
    assert convert("cityscapes", root, "--split", "train")[0] != 0
    assert "city_sequence_frame" in capsys.readouterr().err


def test_splits_are_found_and_named_without_the_year(tmp_path):
    for name in (
        "panoptic_val2017.json",
        "panoptic_train2017.json",
        "panoptic_x.txt",
        "other.json",
    ):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / name).write_text("")
    assert find_splits(str(tmp_path), TreePatterns()) == ["train2017", "val2017"]
    assert find_splits(str(tmp_path), TreePatterns(json="labels.json")) == ["train"]
    assert [plain_name(name) for name in ("train2017", "val", "2017")] == ["train", "val", "2017"]
    with pytest.raises(UserError, match="give --json"):
        find_splits(str(tmp_path), TreePatterns(json="labels_{split}.json"))


def test_holding_out_is_a_partition_that_hardly_changes():
    def names(split):
        return [annotation.name for annotation in split.annotations]

    images = [UnlabeledImage(f"{i}.jpg") for i in range(50)]
    kept, held_out = hold_out(Split(images), 0.2)
    assert len(names(held_out)) == 10
    assert sorted(names(kept) + names(held_out)) == sorted(image.name for image in images)
    _, again = hold_out(Split(images[:-1][::-1]), 0.2)
    assert len(set(names(again)) & set(names(held_out))) >= 8
    for share in (0.0, 0.99):
        kept, held_out = hold_out(Split(images[:2]), share)
        assert (len(names(kept)), len(names(held_out))) == (1, 1)
