"""kmax convert-predictions: masks are those of the prediction to the pixel, in every format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO

from kmax_tf.cli.main import main
from kmax_tf.interchange.brush import decode_brush
from kmax_tf.interchange.label_studio import image_path_of
from kmax_tf.panoptic.png import read_ids
from tests.interchange.scenes import LABELS, write_predictions

ORIGINAL = {category.id: category.original_id for category in LABELS.classes}
NAMES = {category.original_id: category.name for category in LABELS.classes}


def convert(root, kind, *more):
    images = [] if kind == "coco-results" else [f"--images={root / 'images'}"]
    predictions = f"--predictions={root / 'predictions'}"
    return main(
        ["convert-predictions", kind, predictions, *images, f"--output={root / kind}", *more]
    )


def masks_of(panoptic, things_only=False):
    """What must be found: category and mask of each segment, in any order."""
    found = [
        (ORIGINAL[value // 100], (panoptic == value).tobytes())
        for value in np.unique(panoptic[panoptic > 0]).tolist()
    ]
    return sorted(pair for pair in found if not things_only or pair[0] != 20)


def read(path):
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("numbered", "count"),
    [(False, 12), (True, 12), pytest.param(True, 500, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("polygons", [[], ["--polygons=0"]])
def test_coco_instances(tmp_path, numbered, count, polygons, capsys):
    maps = write_predictions(tmp_path, count, 3, numbered)
    assert convert(tmp_path, "coco-instances", *polygons) == 0
    path = tmp_path / "coco-instances" / "annotations" / "instances_predictions.json"
    if polygons:
        assert "to the pixel" in capsys.readouterr().out
    coco = COCO(str(path))
    ids = sorted(coco.getImgIds())
    assert ids == list(range(7, 7 + count) if numbered else range(1, 1 + count))
    for image_id, panoptic in zip(ids, maps):
        (image,) = coco.loadImgs(image_id)
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        found = [(a["category_id"], coco.annToMask(a).astype(bool).tobytes()) for a in annotations]
        assert sorted(found) == masks_of(panoptic)
        for annotation in annotations:
            assert isinstance(annotation["segmentation"], list if polygons else dict)
            mask = coco.annToMask(annotation)
            assert annotation["area"] == mask.sum()
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert annotation["bbox"] == box
            assert annotation["attributes"]["origin"] == "prediction"
            assert 0.5 <= annotation["score"] < 1


def test_the_agreement_of_polygons_is_told(tmp_path, capsys):
    write_predictions(tmp_path, 5)
    assert convert(tmp_path, "coco-instances", "--polygons") == 0
    assert "polygons agree with masks in " in capsys.readouterr().out
    path = tmp_path / "coco-instances" / "annotations" / "instances_predictions.json"
    coco = COCO(str(path))
    written = {}
    for annotation in coco.dataset["annotations"]:
        written[annotation["id"]] = annotation["attributes"]["agreement"]
    assert convert(tmp_path, "coco-instances") == 0
    exact = COCO(str(path))
    for number, stated in written.items():
        first, second = coco.annToMask(coco.anns[number]), exact.annToMask(exact.anns[number])
        assert stated == pytest.approx((first & second).sum() / (first | second).sum(), abs=1e-4)


def test_coco_results_are_taken_by_load_res(tmp_path):
    maps = write_predictions(tmp_path, 6, numbered=True)
    assert convert(tmp_path, "coco-results") == 0
    assert convert(tmp_path, "coco-instances") == 0
    truth = COCO(str(tmp_path / "coco-instances/annotations/instances_predictions.json"))
    results = truth.loadRes(str(tmp_path / "coco-results" / "results.json"))
    for image_id, panoptic in zip(range(7, 13), maps):
        annotations = results.loadAnns(results.getAnnIds(image_id))
        found = [(a["category_id"], results.annToMask(a).astype(bool)) for a in annotations]
        assert sorted((k, m.tobytes()) for k, m in found) == masks_of(panoptic, things_only=True)


def test_coco_panoptic_is_converted_to_records(tmp_path, capsys):
    write_predictions(tmp_path, 6)
    assert convert(tmp_path, "coco-panoptic") == 0
    out = tmp_path / "coco-panoptic"
    before = tmp_path / "predictions" / "cam 1" / "frame é1.png"
    after = out / "annotations" / "panoptic_predictions" / "cam 1" / "frame é1.png"
    np.testing.assert_array_equal(read_ids(after), read_ids(before))
    words = ["convert-dataset", "coco-format", f"--source={out}", f"--output={tmp_path / 'r'}"]
    assert main([*words, f"--images={tmp_path / 'images'}"]) == 0
    assert "refused" not in capsys.readouterr().out


def test_label_studio(tmp_path):
    maps = write_predictions(tmp_path, 6)
    assert convert(tmp_path, "label-studio", "--image-url=/data/local-files/?d=sets/{path}") == 0
    tasks = read(tmp_path / "label-studio" / "tasks.json")
    assert len(tasks) == 6
    for number, (task, panoptic) in enumerate(zip(tasks, maps)):
        kind = "jpg" if number % 2 else "png"
        path = f"sets/cam {number % 2}/frame é{number}.{kind}"
        assert image_path_of(task["data"]["image"]) == path
        found = []
        for result in task["predictions"][0]["result"]:
            size = (result["original_height"], result["original_width"])
            mask = decode_brush(result["value"]["rle"], *size)
            (name,) = result["value"]["brushlabels"]
            found.append((name, mask.tobytes()))
        assert sorted(found) == sorted((NAMES[key], mask) for key, mask in masks_of(panoptic))


def test_things_and_scores_are_chosen(tmp_path):
    maps = write_predictions(tmp_path, 6)
    path = tmp_path / "coco-instances" / "annotations" / "instances_predictions.json"
    assert convert(tmp_path, "coco-instances", "--things-only") == 0
    things = sum(len(masks_of(panoptic, things_only=True)) for panoptic in maps)
    assert len(read(path)["annotations"]) == things
    assert convert(tmp_path, "coco-instances", "--min-score=0.505") == 0
    scores = [annotation["score"] for annotation in read(path)["annotations"]]
    assert scores
    assert min(scores) >= 0.505


def test_what_is_wrong_with_an_image_is_said_and_the_others_go_on(tmp_path, capsys):
    write_predictions(tmp_path, 6, numbered=True)
    (tmp_path / "images" / f"{7:012d}.png").unlink()
    (tmp_path / "predictions" / f"{8:012d}.png").unlink()
    Image.new("RGB", (3, 4)).save(tmp_path / "images" / f"{9:012d}.png")
    Image.new("RGB", (3, 4)).save(tmp_path / "images" / f"{10:012d}.bmp")
    ids = read_ids(tmp_path / "predictions" / f"{11:012d}.png")
    Image.fromarray(np.zeros((*ids.shape, 3), np.uint8)).save(
        tmp_path / "predictions" / f"{11:012d}.png"
    )
    assert convert(tmp_path, "coco-instances") == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in said[:-1]] == [
        f"refused {number:012d}.png" for number in range(7, 12)
    ]
    reasons = ["no image", "", "is 3 x 4", "several images", "no pixel of the segments"]
    assert all(reason in line for reason, line in zip(reasons, said))
    assert said[-1].startswith("1 image, 5 refused: ")


def test_files_of_others_stay(tmp_path, capsys):
    write_predictions(tmp_path, 2)
    path = tmp_path / "coco-results" / "results.json"
    path.parent.mkdir()
    path.write_text("mine")
    assert convert(tmp_path, "coco-results") == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert convert(tmp_path, "coco-results", "--overwrite") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["coco-results", "--predictions=none", "--output=o"], "cannot read"),
        (
            ["coco-instances", "--predictions=predictions", "--images=none", "--output=o"],
            "the folder of images none is missing",
        ),
        (
            [
                *("coco-instances", "--predictions=predictions"),
                *("--images=images", "--output=o", "--polygons=-1"),
            ],
            "--polygons takes 0 to 100 pixels",
        ),
    ],
)
def test_a_wrong_command_is_answered_in_a_sentence(words, said, tmp_path, monkeypatch, capsys):
    write_predictions(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    assert main(["convert-predictions", *words]) == 2
    assert said in capsys.readouterr().err


def test_what_comes_back_is_compared(tmp_path, capsys):
    write_predictions(tmp_path, 4, 5)
    assert convert(tmp_path, "coco-instances") == 0
    sent = tmp_path / "coco-instances" / "annotations" / "instances_predictions.json"
    content = read(sent)
    kept, changed, gone, *others = content["annotations"]
    mask = rle_masks.decode(changed["segmentation"])
    y, x = np.argwhere(mask == 1)[0]
    mask[y, x] = 0
    code = rle_masks.encode(np.asfortranarray(mask))
    changed["segmentation"] = {**code, "counts": code["counts"].decode()}
    new = {**kept, "id": 1000, "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]}
    bad = {**kept, "id": 1001, "segmentation": []}
    content["annotations"] = [kept, changed, *others, new, bad]
    for image in content["images"]:
        image["file_name"] = "upload/" + image["file_name"]
    back = tmp_path / "back.json"
    back.write_text(json.dumps(content))
    words = [f"--sent={sent}", f"--returned={back}", f"--output={tmp_path / 'compared.json'}"]
    capsys.readouterr()
    assert main(["convert-predictions", "compare", *words]) == 1
    said = capsys.readouterr().out
    assert "refused annotation" in said
    count = 1 + len(others)
    assert f"{count} prediction, 1 corrected, 1 drawn, 1 prediction deleted" in said
    compared = read(tmp_path / "compared.json")["annotations"]
    origins = {annotation["id"]: annotation["attributes"]["origin"] for annotation in compared}
    assert origins[kept["id"]] == "prediction"
    assert origins[changed["id"]] == "corrected"
    assert origins[1000] == "drawn"
    assert gone["id"] not in origins


def test_bad_entries_that_come_back_are_named(tmp_path, capsys):
    write_predictions(tmp_path, 3, 5)
    assert convert(tmp_path, "coco-instances") == 0
    sent = tmp_path / "coco-instances" / "annotations" / "instances_predictions.json"
    content = read(sent)
    good = content["annotations"][0]
    count = len(content["annotations"])
    bad = [
        *("text", None, {}, {**good, "image_id": [1]}, {**good, "category_id": {}}),
        *({**good, "image_id": 99}, {**good, "category_id": 99}),
        {**good, "segmentation": [[1, 1, 2, 2]]},
        {**good, "segmentation": [[float("nan"), 1, 2, 2, 3, 3]]},
        {**good, "segmentation": {"size": [1, 1], "counts": [1]}},
        {**good, "segmentation": {"size": good["segmentation"]["size"], "counts": "}"}},
    ]
    content["annotations"] += bad
    content["images"] += [{"id": []}, 7]
    back = tmp_path / "back.json"
    back.write_text(json.dumps(content))
    words = [f"--sent={sent}", f"--returned={back}", f"--output={tmp_path / 'compared.json'}"]
    capsys.readouterr()
    assert main(["convert-predictions", "compare", *words]) == 1
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("refused ") for line in said) == len(bad) + 2
    assert said[-1].startswith(f"{count} prediction, 0 corrected, 0 drawn, 0 predictions deleted")
    for text in ("[]", "{}", "{", '{"images": 1, "annotations": [], "categories": []}'):
        back.write_text(text)
        assert main(["convert-predictions", "compare", *words]) == 2
        assert "export" in capsys.readouterr().err
