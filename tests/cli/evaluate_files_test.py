"""kmax evaluate-files: what it writes and prints, and one clear error for each kind of bad file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.figures import overlay
from kmax_tf.files import workers
from tests.evaluation.panoptic_sets import IDS, write_set
from tests.processes import run_python
from tests.reference import panoptic_files_oracle as oracle


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(overlay, "scale_for", lambda shape: 1)  # tiny pictures are drawn fast
    rng = np.random.default_rng(4)
    write_set(tmp_path, [oracle.random_image(rng, IDS) for _ in range(6)])
    (tmp_path / "images").mkdir()
    for number in range(6):
        with Image.open(tmp_path / "truth" / f"{number}.png") as image:
            image.convert("RGB").save(tmp_path / "images" / f"{number}.jpg")
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    """Returns the command line on the files of a folder."""
    paths = {"ground-truth": "truth.json", "predictions": "predictions.json", "output": "out"}
    pictures = [] if "--images" in more else ["--no-pictures"]
    places = [f"--{name}={folder / path}" for name, path in paths.items()]
    return ["evaluate-files", *places, "--workers=1", *more, *pictures]


def run(folder: Path, *more: str) -> int:
    return main(words(folder, *more))


def measured(folder: Path, *more: str) -> dict:
    """Runs the command, which must succeed; returns the metrics that it writes."""
    assert run(folder, *more) == 0
    return json.loads((folder / "out" / "metrics.json").read_text())


def change(path: Path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def annotations(edit):
    """Makes an edit of a JSON of one of its annotations."""
    return lambda content: [edit(entry) for entry in content["annotations"]]


def segments(edit):
    """Makes an edit of a JSON of one of its segments."""
    return annotations(lambda entry: [edit(segment) for segment in entry["segments_info"]])


def second(content) -> dict:
    return content["annotations"][1]


def image_ids(new):
    """Makes an edit of a JSON that gives images other ids."""
    return annotations(lambda entry: entry.update(image_id=new(entry["image_id"])))


own_numbers = image_ids(lambda number: number + 4)


def test_writes_metrics_and_a_report_and_prints_a_table(files: Path, capsys) -> None:
    metrics = measured(files, "--images", str(files / "images"))
    printed = capsys.readouterr()
    assert metrics["images"] == 6
    assert metrics["miou_of"] == "panoptic maps"
    assert {"pq", "sq", "rq", "ap", "per_class", "pq_by_size"} <= metrics.keys()
    assert f"PQ {metrics['pq']['all']:.1f}, mIoU" in printed.out
    assert "evaluate: 6/6" in printed.err
    for note in metrics["notes"]:
        assert f"note: {note}" in printed.out
    report = (files / "out" / "report.html").read_text()
    assert report.count("<figure>") == 6
    assert report.count("data:image/jpeg;base64,") == 4 * 6
    assert "url(" not in report
    assert "@import" not in report


def test_images_that_are_not_there_leave_the_maps(files: Path, capsys) -> None:
    (files / "images" / "2.jpg").unlink()
    (files / "images" / "3.jpg").write_bytes(b"no image")
    Image.new("RGB", (99, 9)).save(files / "images" / "4.jpg")
    assert run(files, "--images", str(files / "images")) == 0
    assert "has no fitting image of 2, 3, 4" in capsys.readouterr().out
    assert (files / "out" / "report.html").read_text().count("data:image") == 4 * 6 - 3


def images_of(content) -> None:
    content["images"] = [
        {"id": entry["image_id"], "file_name": f"{entry['image_id']}.jpg"}
        for entry in content["annotations"]
    ]


@pytest.mark.parametrize(
    ("edit", "way"),
    [
        (lambda content: None, "image_id"),
        (image_ids("{:012d}".format), "image_id"),
        (image_ids(float), "image_id"),
        (image_ids("{}.jpg".format), "file_name"),
        (own_numbers, "file_name"),  # the half of which are ids of other images
    ],
)
def test_predictions_find_their_image(files: Path, capsys, edit, way: str) -> None:
    change(files / "truth.json", images_of)
    expected = measured(files)
    change(files / "predictions.json", edit)
    found = measured(files)
    assert f"truth and predictions are matched by {way}" in capsys.readouterr().out
    assert (found["matched_by"], found["per_class"]) == (way, expected["per_class"])


def test_names_are_paths(files: Path) -> None:
    """Frames of two cameras have the same names; the predictions have other ids."""
    for folder in ("truth", "predictions"):
        for number in range(6):
            camera = files / folder / f"cam{number % 2}"
            camera.mkdir(exist_ok=True)
            (files / folder / f"{number}.png").rename(camera / f"{number // 2}.png")

    def in_folders(content) -> None:
        for number, entry in enumerate(content["annotations"]):
            entry["file_name"] = f"cam{number % 2}/{number // 2}.png"

    change(files / "truth.json", in_folders)
    change(files / "predictions.json", in_folders)
    expected = measured(files)
    change(files / "predictions.json", own_numbers)
    found = measured(files)
    assert (found["matched_by"], found["per_class"]) == ("file_name", expected["per_class"])


def test_names_are_spelt_otherwise(files: Path) -> None:
    """PNGs with accents that an archive took apart, and an ending in capitals."""
    for folder in ("truth", "predictions"):
        (files / folder / "1.png").rename(files / folder / "e\u0301.PNG")
        change(
            files / f"{folder}.json",
            lambda content: content["annotations"][1].update(file_name="\u00e9.png"),
        )
    assert run(files) == 0
    change(files / "predictions.json", own_numbers)
    assert measured(files)["matched_by"] == "file_name"


def test_ids_and_names_that_contradict_each_other_are_not_guessed(files: Path, capsys) -> None:
    expected = measured(files)["per_class"]

    def swap(content) -> None:
        first, second = content["annotations"][:2]
        first["image_id"], second["image_id"] = second["image_id"], first["image_id"]

    change(files / "predictions.json", swap)
    assert run(files) == 2
    assert re.search("contradict each other in 2 images: .* --match-by", capsys.readouterr().err)
    assert measured(files, "--match-by", "file_name")["per_class"] == expected
    run(files, "--match-by", "image_id")  # other maps, which may differ in size
    assert "contradict" not in capsys.readouterr().err


def test_ids_that_are_the_same_number_stay_names(files: Path) -> None:
    for name in ("truth.json", "predictions.json"):
        change(files / name, image_ids(("1", "01", "001", "2", "02", "x").__getitem__))
    assert measured(files)["images"] == 6


def test_a_truth_without_iscrowd_is_said(files: Path, capsys) -> None:
    change(files / "truth.json", segments(lambda segment: segment.update(iscrowd=0)))
    expected = measured(files)["per_class"]
    change(files / "truth.json", segments(lambda segment: segment.pop("iscrowd")))
    assert measured(files)["per_class"] == expected
    assert "true segments without iscrowd, counted as iscrowd 0" in capsys.readouterr().out


def test_ids_of_images_and_annotations_may_differ_as_text_does(files: Path, capsys) -> None:
    def texts(content) -> None:
        images_of(content)
        for entry in content["images"]:
            entry["id"] = f"{entry['id']:04d}"

    change(files / "truth.json", texts)
    assert run(files) == 0
    assert "doesn't list" not in capsys.readouterr().out.replace("its JSON doesn't list", "")


@pytest.mark.parametrize(
    ("name", "edit", "note"),
    [
        (
            "truth",
            lambda content: content["annotations"].pop(2),
            "1 prediction of images that aren't in the ground truth",
        ),
        ("truth", lambda c: (images_of(c), c["images"].pop(0)), "doesn't list .* of image_id 0"),
        (
            "truth",
            lambda content: (images_of(content), content["annotations"].pop(2)),
            "1 image of .*truth.json without an annotation.*: image_id 2",
        ),
        (
            "truth",
            annotations(lambda entry: entry.update(segments_info=[])),
            "lists no segment in any image: there is nothing to be found",
        ),
        (
            "predictions",
            lambda content: content["annotations"][0]["segments_info"][0].update(iscrowd=1),
            "1 predicted segment with iscrowd 1, counted like others",
        ),
        (
            "predictions",
            lambda content: content.update(categories=[{"id": 3, "name": "Dog", "isthing": 1}]),
            "1 category with another name or isthing.*: id 3",
        ),
        (
            "predictions",
            segments(lambda segment: segment.pop("score")),
            r"no mask AP: (\d+) of \1 predicted segments",
        ),
    ],
)
def test_what_counts_nowhere_is_said(files: Path, capsys, name: str, edit, note: str) -> None:
    change(files / f"{name}.json", edit)
    metrics = measured(files)
    assert re.search(note, capsys.readouterr().out)
    assert bool(metrics["ap"]) == ("no mask AP" not in note)


def test_of_two_predictions_of_an_image_the_last_counts(files: Path, capsys) -> None:
    expected = measured(files)

    def repeat(content) -> None:
        content["annotations"].insert(0, {**second(content), "image_id": 0})

    change(files / "predictions.json", repeat)
    assert measured(files)["per_class"] == expected["per_class"]
    assert "1 prediction followed by another one" in capsys.readouterr().out


def test_nothing_predicted_is_zero(tmp_path: Path) -> None:
    ids = np.ones((40, 50), int)
    entry = oracle.segment(1, 3, area=2000, iscrowd=0)
    write_set(tmp_path, [(ids, [entry], 0 * ids, [])])
    metrics = measured(tmp_path)
    assert metrics["pq"]["things"] == metrics["ap"]["ap"] == metrics["miou"] == 0


LABEL_IDS = {3: 7, 5: 8, 8: 24, 21: 26}
TRAIN_IDS = {3: 0, 5: 1, 8: 11, 21: 13}


def renumber(table):
    def edit(content) -> None:
        for category in content.get("categories", ()):
            category["id"] = table[category["id"]]
        segments(lambda s: s.update(category_id=table[s["category_id"]]))(content)

    return edit


@pytest.mark.parametrize("ids", [(LABEL_IDS, TRAIN_IDS), (TRAIN_IDS, LABEL_IDS)])
def test_ids_of_the_other_numbering_are_translated(files: Path, ids) -> None:
    """Of Cityscapes: ground truth in label ids, predictions in train ids, and the reverse."""
    expected = measured(files)["per_class"]
    for name, table in zip(("truth", "predictions"), ids):
        change(files / f"{name}.json", renumber(table))
    categories = json.loads((files / "truth.json").read_text())["categories"]
    change(files / "predictions.json", lambda content: content.update(categories=categories))
    assert measured(files, "--category-ids", "cityscapes")["per_class"] == expected


def test_tensorflow_is_never_needed(files: Path) -> None:
    """It would take longer to import than hundreds of images to count, as would others."""
    program = (
        "import sys; from kmax_tf.cli.main import main; status = main(sys.argv[1:]);"
        "sys.exit(status or {'tensorflow', 'matplotlib', 'scipy'} & set(sys.modules) or 0)"
    )
    change(files / "truth.json", renumber(LABEL_IDS))
    change(files / "predictions.json", renumber(TRAIN_IDS))
    run_python("-c", program, *words(files, "--category-ids=cityscapes"))


def test_reports_of_others_are_not_replaced(files: Path, capsys) -> None:
    (files / "out").mkdir()
    (files / "out" / "report.html").write_text("mine")
    assert run(files) == 2
    assert "report.html" in capsys.readouterr().err
    assert (files / "out" / "report.html").read_text() == "mine"
    assert not (files / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "truth.json").unlink(), "cannot read .*truth.json: No such file"),
        (lambda f: (f / "truth").rename(f / "elsewhere"), "the folder .*truth of the PNGs"),
        (lambda f: (f / "out").write_text(""), "out is a file, not a folder"),
        (lambda f: (f / PNG).unlink(), "1 of 12 PNGs missing: .*predictions/1.png"),
        (
            lambda f: (f / PNG).write_bytes(b"rubbish"),
            "predictions/1.png is a text file, which isn't read",
        ),
        (
            lambda f: Image.new("RGB", (40, 30)).save(f / PNG),
            r"1.png is 40 x 30, but the ground truth .*truth/1.png is \d+ x \d+",
        ),
    ],
)
def test_bad_files_are_one_clear_error(files: Path, capsys, spoil, message: str) -> None:
    spoil(files)
    check_refusal(files, capsys, message)


PNG = "predictions/1.png"


def check_refusal(files: Path, capsys, message: str, *more: str) -> None:
    assert run(files, *more) == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed), printed
    assert printed.splitlines()[-1].startswith("kmax: error: ")
    assert not (files / "out" / "metrics.json").exists()


# What is wrong with a JSON by itself, and how that is said, is in panoptic/coco_json_test.py.
@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("truth", lambda c: c["annotations"].append(second(c)), r"have one image_id, 1; keep one"),
        ("truth", lambda c: c.pop("categories"), "lists no categories"),
        (
            "predictions",
            lambda c: c["annotations"].pop(4),
            "no prediction of 1 of 6 images .*: image_id 4",
        ),
        (
            "predictions",
            lambda c: second(c).update(segments_info=[]),
            r"predictions/1.png \(image_id 1\) has the ids .* doesn't list",
        ),
        (
            "predictions",
            lambda c: second(c)["segments_info"].append({"id": 99, "category_id": 3, "score": 1}),
            r"predictions/1.png \(image_id 1\) has no pixel of the ids 99",
        ),
        (
            "predictions",
            lambda c: second(c)["segments_info"][0].update(category_id=11),
            r"category_id 11, which the ground truth doesn't list \(image_id 1 has 11\)",
        ),
        (
            "predictions",
            lambda c: second(c).update(file_name="0.png"),
            "predictions.json gives the images 0 and 1 the same PNG, .*predictions/0.png",
        ),
        (
            "predictions",
            lambda c: second(c).update(file_name="1.jpg"),
            "1 of 12 PNGs missing: .*1.jpg; there is .*predictions/1.png: correct",
        ),
        (
            "predictions",
            lambda c: c.update(
                categories=[{"id": i, "name": n, "isthing": 1} for i, n in ((3, "cat"), (5, "dog"))]
            ),
            "category 'cat' has the id 5 in .*truth.json, but 3 in .*predictions.json: 2 categ",
        ),
    ],
)
def test_bad_jsons_are_one_clear_error(files: Path, capsys, name: str, edit, message: str) -> None:
    change(files / f"{name}.json", edit)
    check_refusal(files, capsys, message)


def test_every_entry_is_checked_before_a_pixel_is_read(files: Path, capsys) -> None:
    for path in files.glob("*/*.png"):
        path.write_bytes(b"rubbish")

    def edit(content) -> None:
        content["annotations"][5]["segments_info"].append({"id": 1e400, "category_id": 3})

    change(files / "predictions.json", edit)
    message = r"annotations\[5\] of .*predictions.json: segments_info.*id must be"
    check_refusal(files, capsys, message)


def test_a_bad_file_is_the_same_error_from_a_worker(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(workers, "seconds_a_helper", lambda: 1e-9)
    rng = np.random.default_rng(4)
    write_set(tmp_path, [oracle.random_image(rng, IDS) for _ in range(60)])
    (tmp_path / "predictions" / "40.png").write_bytes(b"rubbish")
    check_refusal(tmp_path, capsys, "40.png is a text file, which isn't read", "--workers=2")


def test_an_area_of_nothing_is_an_error(tmp_path: Path, capsys) -> None:
    ids = np.array([[1, 1]])
    entry = {"id": 1, "category_id": 3}
    write_set(tmp_path, [(ids, [{**entry, "area": 0, "iscrowd": 0}], ids, [{**entry, "score": 1}])])
    message = "truth/0.png: the true segment 1 has pixels, but its stated area is 0"
    check_refusal(tmp_path, capsys, message)
