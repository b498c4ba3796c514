"""Formats of others by Datumaro, an extra: without it these tests are skipped, as pytest says."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools.coco import COCO

from kmax_tf.cli.main import main
from kmax_tf.config.dataset import read_description
from kmax_tf.errors import UserError
from kmax_tf.interchange import datumaro_library
from kmax_tf.interchange.datumaro_import import detect_format, write_as_coco
from kmax_tf.records.examples import decode_example
from tests.interchange.scenes import write_predictions

dm = pytest.importorskip("datumaro", reason="pip install 'kmax-tf[datumaro]'")
NAMES = ("bolt", "nut", "belt")


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def scenes(root, count=6, seed=0):
    """Images, and masks of each: [H, W] bool by label, no two of which share a pixel."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        height, width = (int(n) for n in rng.integers(12, 40, 2))
        path = root / f"scene_{number}.png"
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        owner = np.zeros((height, width), int)
        for index in range(1, 5):
            y, x = rng.integers(height - 4), rng.integers(width - 4)
            owner[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)] = index
        masks = [(int(rng.integers(3)), owner == i) for i in range(1, 5) if (owner == i).any()]
        yield path, "train" if number % 3 else "val", masks


def dataset(root, kind="mask"):
    items, meant = [], {}
    for path, split, masks in scenes(root):
        annotations = []
        for number, (label, mask) in enumerate(masks, 1):
            common = {"label": label, "group": number, "id": number}
            y, x = (int(n) for n in np.argwhere(mask)[0])
            if kind == "mask":
                annotations.append(dm.Mask(mask, **common))
            elif kind == "polygon":
                annotations.append(dm.Polygon([x, y, x + 3, y, x + 3, y + 4, x, y + 4], **common))
            else:
                annotations.append(dm.Bbox(x, y, 3, 4, **common))
        media = dm.Image.from_file(path=str(path))
        items.append(dm.DatasetItem(path.stem, subset=split, media=media, annotations=annotations))
        meant[path.stem] = sorted((NAMES[label], mask.tobytes()) for label, mask in masks)
    return dm.Dataset.from_iterable(items, categories=list(NAMES)), meant


def read(folder):
    """What pycocotools finds: by the image's name, its classes and masks."""
    found = {}
    for path in sorted((folder / "annotations").iterdir()):
        coco = COCO(str(path))
        for image in coco.dataset["images"]:
            file = folder / "images" / path.stem.partition("_")[2] / image["file_name"]
            with Image.open(file) as picture:
                assert picture.size == (image["width"], image["height"])
            annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
            names = [coco.cats[a["category_id"]]["name"] for a in annotations]
            masks = [coco.annToMask(a).astype(bool).tobytes() for a in annotations]
            found[file.stem] = sorted(zip(names, masks))
    return found


@pytest.mark.parametrize(
    "name", ["coco_instances", "voc", "cvat", "label_me", "datumaro", "datumaro_binary"]
)
def test_masks_of_other_formats_are_read_to_the_pixel(name, tmp_path):
    written, meant = dataset(tmp_path / "images")
    written.export(str(tmp_path / name), name, save_media=True)
    assert detect_format(str(tmp_path / name)) == name
    found = write_as_coco(str(tmp_path / name), None, str(tmp_path / "coco"))
    assert found.refused == []
    assert found.images == {"train": 4, "val": 2}
    assert found.sentence == f"Datumaro reads it as {name}: train 4 images, val 2 images"
    assert read(tmp_path / "coco") == meant


@pytest.mark.parametrize("name", ["coco_instances", "cvat", "label_me", "datumaro"])
def test_polygons_stay_polygons(name, tmp_path):
    written, meant = dataset(tmp_path / "images", "polygon")
    written.export(str(tmp_path / name), name, save_media=True)
    write_as_coco(str(tmp_path / name), name, str(tmp_path / "coco"))
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"coco/annotations/instances_{split}.json").read_text())
        for annotation in content["annotations"]:
            (points,) = annotation["segmentation"]
            xs, ys = points[::2], points[1::2]
            assert (max(xs) - min(xs), max(ys) - min(ys)) == (3, 4)
    assert {key: len(masks) for key, masks in read(tmp_path / "coco").items()} == {
        key: len(masks) for key, masks in meant.items()
    }


def test_boxes_and_missing_images_are_told(tmp_path):
    written, _ = dataset(tmp_path / "images", "box")
    written.export(str(tmp_path / "voc"), "voc", save_media=True)
    with pytest.raises(UserError, match="reads no mask or polygon of a class as voc; the first: "):
        write_as_coco(str(tmp_path / "voc"), "voc", str(tmp_path / "coco"))
    written, meant = dataset(tmp_path / "images")
    for name in ("cvat", "label_me"):
        written.export(str(tmp_path / name), name, save_media=True)
    (tmp_path / "cvat" / "images" / "scene_1.png").unlink()
    with pytest.raises(UserError, match=r"as cvat: Cannot find an image .*scene_1\.png"):
        write_as_coco(str(tmp_path / "cvat"), None, str(tmp_path / "coco"))
    (tmp_path / "label_me" / "Images" / "train" / "scene_1.png").unlink()
    found = write_as_coco(str(tmp_path / "label_me"), None, str(tmp_path / "coco"))
    ((name, reason),) = found.refused
    assert name == "scene_1"
    assert "its image" in reason
    del meant["scene_1"]
    assert read(tmp_path / "coco") == meant


def test_what_is_no_dataset_is_said(tmp_path):
    (tmp_path / "photo.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"finds no format in .*--format: ade20k2017, "):
        detect_format(str(tmp_path))
    with pytest.raises(UserError, match="reads no 'vok'; it knows ade20k2017"):
        write_as_coco(str(tmp_path), "vok", str(tmp_path / "coco"))
    with pytest.raises(UserError, match=r"can't read .* as voc"):
        write_as_coco(str(tmp_path), "voc", str(tmp_path / "coco"))
    with pytest.raises(UserError, match="there is no folder"):
        detect_format(str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["voc", "cvat"])
def test_records_are_made_of_other_formats(name, tmp_path, capsys):
    written, meant = dataset(tmp_path / "images")
    written.export(str(tmp_path / name), name, save_media=True)
    words = [f"--source={tmp_path / name}", f"--output={tmp_path / 'records'}", "--workers=1"]
    assert main(["convert-dataset", "datumaro", *words]) == 0
    said = capsys.readouterr().out
    assert f"Datumaro reads it as {name}: train 4 images, val 2 images" in said
    report = json.loads((tmp_path / "records" / "report.json").read_text())
    assert {split: of["images"] for split, of in report.items()} == {"train": 4, "val": 2}
    labels, _ = read_description(str(tmp_path / "records" / "dataset.textproto"))
    names = {category.id: category.name for category in labels.classes}
    assert labels.name == name
    found = {}
    for path in tmp_path.glob("records/*.tfrecord"):
        for record in tf.data.TFRecordDataset(str(path)):
            example = decode_example(record)
            panoptic = example["panoptic"].numpy()
            found[example["image_id"].numpy().decode()] = sorted(
                (names[value // labels.label_divisor], (panoptic == value).tobytes())
                for value in np.unique(panoptic[panoptic > 0])
            )
    assert found == meant


def convert(root, name, *more):
    words = [f"--predictions={root / 'predictions'}", f"--images={root / 'images'}"]
    words += [f"--output={root / name}", f"--format={name}", *more]
    return main(["convert-predictions", "datumaro", *words])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *(("coco_instances", []), ("voc", []), ("cvat", []), ("datumaro", [])),
        *(("cvat", ["--polygons=0"]), ("label_me", ["--polygons=0"])),
    ],
)
def test_predictions_are_written_in_other_formats(name, more, tmp_path, capsys):
    write_predictions(tmp_path, 4, numbered=True)
    assert convert(tmp_path, name, *more) == 0
    assert f"{name}, as Datumaro reads it again, has 100.00% of" in capsys.readouterr().out
    if name == "cvat":
        assert 'name="origin">prediction<' in (tmp_path / "cvat" / "train.xml").read_text()
    assert convert(tmp_path, name, *more) == 2  # the folder isn't empty any more


def test_a_format_that_holds_no_masks_is_said(tmp_path, capsys):
    write_predictions(tmp_path, 3, numbered=True)
    assert convert(tmp_path, "yolo") == 1
    assert "yolo holds none of these masks" in capsys.readouterr().out
    assert convert(tmp_path, "vok") == 2
    assert "writes no 'vok'; it knows" in capsys.readouterr().err


def test_without_datumaro_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datumaro", None)
    with pytest.raises(UserError, match=r"pip install 'kmax-tf\[datumaro\]'"):
        datumaro_library.import_datumaro()
