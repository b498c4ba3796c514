"""kmax evaluate-files: what it writes and prints, and one clear error for each kind of bad file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.figures import overlay
from kmax_tf.files import shared_work
from tests.evaluation.panoptic_sets import IDS, write_set
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


def run(folder: Path, *more: str) -> int:
    words = ["--ground-truth", folder / "truth.json", "--predictions", folder / "predictions.json"]
    words += ["--output", folder / "out", "--workers=1", *more]
    words += [] if "--images" in more else ["--no-pictures"]
    return main(["evaluate-files", *(str(word) for word in words)])


def change(path: Path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_writes_metrics_and_a_report_and_prints_a_table(files: Path, capsys) -> None:
    assert run(files, "--images", str(files / "images")) == 0
    printed = capsys.readouterr()
    metrics = json.loads((files / "out" / "metrics.json").read_text())
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
    assert not re.search(r"(src|href)\s*=\s*\"(?!data:|#)", report)
    assert "url(" not in report
    assert "@import" not in report


def test_images_that_are_not_there_leave_the_maps(files: Path, capsys) -> None:
    (files / "images" / "2.jpg").unlink()
    (files / "images" / "3.jpg").write_bytes(b"no image")
    Image.new("RGB", (99, 9)).save(files / "images" / "4.jpg")
    assert run(files, "--images", str(files / "images")) == 0
    assert "has no fitting image of 2, 3, 4" in capsys.readouterr().out
    assert (files / "out" / "report.html").read_text().count("data:image") == 4 * 6 - 3


def test_extra_predictions_are_left_out_and_said(files: Path, capsys) -> None:
    change(files / "truth.json", lambda content: content["annotations"].pop(2))
    assert run(files) == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["images"] == 5
    assert "1 prediction of images that aren't in the ground truth" in capsys.readouterr().out


def images_of(content, name: str = "{}.jpg") -> None:
    content["images"] = [
        {"id": entry["image_id"], "file_name": name.format(entry["image_id"])}
        for entry in content["annotations"]
    ]


def as_names(content) -> None:
    """Ids of the predictions are their images' names."""
    for entry in content["annotations"]:
        entry["image_id"] = f"{entry['image_id']}.jpg"


def padded(content) -> None:
    for entry in content["annotations"]:
        entry["image_id"] = f"{entry['image_id']:012d}"


def floats(content) -> None:
    for entry in content["annotations"]:
        entry["image_id"] = float(entry["image_id"])


def own_numbers(content) -> None:
    for entry in content["annotations"]:
        entry["image_id"] += 4


@pytest.mark.parametrize(
    ("edit", "way"),
    [
        (lambda content: None, "image_id"),
        (padded, "image_id"),
        (floats, "image_id"),
        (as_names, "file_name"),
        (own_numbers, "file_name"),  # the half of which are ids of other images
    ],
)
def test_predictions_find_their_image(files: Path, capsys, edit, way: str) -> None:
    change(files / "truth.json", images_of)
    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())
    change(files / "predictions.json", edit)
    assert run(files) == 0
    assert f"truth and predictions are matched by {way}" in capsys.readouterr().out
    found = json.loads((files / "out" / "metrics.json").read_text())
    assert found["matched_by"] == way
    assert found["per_class"] == expected["per_class"]


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
    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())
    change(files / "predictions.json", own_numbers)
    assert run(files) == 0
    found = json.loads((files / "out" / "metrics.json").read_text())
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
    assert run(files) == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["matched_by"] == "file_name"


def test_ids_and_names_that_contradict_each_other_are_not_guessed(files: Path, capsys) -> None:
    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())["per_class"]

    def swap(content) -> None:
        first, second = content["annotations"][:2]
        first["image_id"], second["image_id"] = second["image_id"], first["image_id"]

    change(files / "predictions.json", swap)
    assert run(files) == 2
    assert re.search("contradict each other in 2 images: .* --match-by", capsys.readouterr().err)
    assert run(files, "--match-by", "file_name") == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["per_class"] == expected
    run(files, "--match-by", "image_id")  # other maps, which may differ in size
    assert "contradict" not in capsys.readouterr().err


def test_ids_that_are_the_same_number_stay_names(files: Path) -> None:
    for name in ("truth.json", "predictions.json"):

        def frames(content) -> None:
            for entry, image_id in zip(content["annotations"], ("1", "01", "001", "2", "02", "x")):
                entry["image_id"] = image_id

        change(files / name, frames)
    assert run(files) == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["images"] == 6


def test_a_truth_without_iscrowd_is_said(files: Path, capsys) -> None:
    def no_crowds(content) -> None:
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                segment["iscrowd"] = 0

    def say_nothing(content) -> None:
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                del segment["iscrowd"]

    change(files / "truth.json", no_crowds)
    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())["per_class"]
    change(files / "truth.json", say_nothing)
    assert run(files) == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["per_class"] == expected
    assert "true segments without iscrowd, counted as iscrowd 0" in capsys.readouterr().out


def test_ids_of_images_and_annotations_may_differ_as_text_does(files: Path, capsys) -> None:
    def texts(content) -> None:
        images_of(content)
        for entry in content["images"]:
            entry["id"] = f"{entry['id']:04d}"

    change(files / "truth.json", texts)
    assert run(files) == 0
    assert "doesn't list" not in capsys.readouterr().out.replace("its JSON doesn't list", "")


def test_a_truth_without_segments_is_said(files: Path, capsys) -> None:
    def empty(content) -> None:
        for entry in content["annotations"]:
            entry["segments_info"] = []

    change(files / "truth.json", empty)
    assert run(files) == 0
    assert "lists no segment in any image: there is nothing to be found" in capsys.readouterr().out


def test_a_predicted_crowd_is_said(files: Path, capsys) -> None:
    change(
        files / "predictions.json",
        lambda content: content["annotations"][0]["segments_info"][0].update(iscrowd=1),
    )
    assert run(files) == 0
    assert "1 predicted segment with iscrowd 1, counted like others" in capsys.readouterr().out


def test_other_names_of_categories_are_said(files: Path, capsys) -> None:
    change(
        files / "predictions.json",
        lambda content: content.update(categories=[{"id": 3, "name": "Dog", "isthing": 1}]),
    )
    assert run(files) == 0
    assert re.search("1 category with another name or isthing.*: id 3", capsys.readouterr().out)


def test_images_without_annotation_are_said(files: Path, capsys) -> None:
    change(files / "truth.json", images_of)
    change(files / "truth.json", lambda content: content["annotations"].pop(2))
    change(files / "truth.json", lambda content: content["images"].pop(0))
    assert run(files) == 0
    printed = capsys.readouterr().out
    assert re.search("1 image of .*truth.json without an annotation.*: image_id 2", printed)
    assert re.search("truth.json doesn't list the images of image_id 0", printed)


def test_of_two_predictions_of_an_image_the_last_counts(files: Path, capsys) -> None:
    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())

    def repeat(content) -> None:
        wrong = {**content["annotations"][1], "image_id": 0}
        content["annotations"].insert(0, wrong)

    change(files / "predictions.json", repeat)
    assert run(files) == 0
    found = json.loads((files / "out" / "metrics.json").read_text())
    assert found["per_class"] == expected["per_class"]
    assert "1 prediction followed by another one" in capsys.readouterr().out


def test_without_scores_there_is_no_mask_ap_and_it_is_said(files: Path, capsys) -> None:
    def strip(content) -> None:
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                segment.pop("score")

    change(files / "predictions.json", strip)
    assert run(files) == 0
    assert json.loads((files / "out" / "metrics.json").read_text())["ap"] == {}
    assert re.search(r"no mask AP: (\d+) of \1 predicted segments", capsys.readouterr().out)


def test_nothing_predicted_is_zero(tmp_path: Path) -> None:
    ids = np.ones((40, 50), int)
    entry = oracle.segment(1, 3, area=2000, iscrowd=0)
    write_set(tmp_path, [(ids, [entry], 0 * ids, [])])
    assert run(tmp_path) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["pq"]["things"] == metrics["ap"]["ap"] == metrics["miou"] == 0


LABEL_IDS = {3: 7, 5: 8, 8: 24, 21: 26}
TRAIN_IDS = {3: 0, 5: 1, 8: 11, 21: 13}


def renumber(table):
    def edit(content) -> None:
        for category in content.get("categories", ()):
            category["id"] = table[category["id"]]
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                segment["category_id"] = table[segment["category_id"]]

    return edit


def test_ids_of_the_other_numbering_are_translated(files: Path, capsys) -> None:
    """Ground truth in Cityscapes' label ids, predictions in train ids, and the reverse."""

    def copy_categories(content) -> None:
        content["categories"] = json.loads((files / "truth.json").read_text())["categories"]

    assert run(files) == 0
    expected = json.loads((files / "out" / "metrics.json").read_text())["per_class"]
    for of_truth, of_predictions in ((LABEL_IDS, TRAIN_IDS), (TRAIN_IDS, LABEL_IDS)):
        change(files / "truth.json", renumber(of_truth))
        change(files / "predictions.json", renumber(of_predictions))
        change(files / "predictions.json", copy_categories)
        assert run(files, "--category-ids", "cityscapes") == 0
        found = json.loads((files / "out" / "metrics.json").read_text())["per_class"]
        assert found == expected
        change(files / "predictions.json", lambda content: content.pop("categories"))
        change(files / "truth.json", renumber({new: old for old, new in of_truth.items()}))
        change(
            files / "predictions.json", renumber({new: old for old, new in of_predictions.items()})
        )


def test_tensorflow_is_never_needed(files: Path) -> None:
    """It would take longer to import than hundreds of images to count."""
    program = (
        "import sys; from kmax_tf.cli.main import main; status = main(sys.argv[1:]);"
        "sys.exit(status or 'tensorflow' in sys.modules)"
    )
    change(files / "truth.json", renumber(LABEL_IDS))
    change(files / "predictions.json", renumber(TRAIN_IDS))
    words = [
        "evaluate-files",
        "--no-pictures",
        "--category-ids",
        "cityscapes",
        "--output",
        files / "out",
    ]
    words += ["--ground-truth", files / "truth.json", "--predictions", files / "predictions.json"]
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reports_of_others_are_not_replaced(files: Path, capsys) -> None:
    (files / "out").mkdir()
    (files / "out" / "report.html").write_text("mine")
    assert run(files) == 2
    assert "report.html" in capsys.readouterr().err
    assert (files / "out" / "report.html").read_text() == "mine"
    assert not (files / "out" / "metrics.json").exists()


def png(files: Path, folder: str = "predictions") -> Path:
    return files / folder / "1.png"


def unlist(content) -> None:
    content["annotations"][1]["segments_info"] = []


def list_another(content) -> None:
    content["annotations"][1]["segments_info"].append({"id": 99, "category_id": 3, "score": 1})


def strange_category(content) -> None:
    content["annotations"][1]["segments_info"][0]["category_id"] = 11


def twice(content) -> None:
    content["annotations"].append(content["annotations"][0])


def one_name(content) -> None:
    images_of(content, "a.jpg")


def one_id(content) -> None:
    images_of(content)
    content["images"][1]["id"] = 0


def one_png(content) -> None:
    content["annotations"][1]["file_name"] = "0.png"


def other_ending(content) -> None:
    content["annotations"][1]["file_name"] = "1.jpg"


def other_categories(content) -> None:
    content["categories"] = [
        {"id": 3, "name": "cat", "isthing": 1},
        {"id": 5, "name": "dog", "isthing": 1},
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "truth.json").unlink(), "cannot read .*truth.json: No such file"),
        (lambda f: (f / "truth.json").write_text("{"), "truth.json is not valid JSON"),
        (lambda f: (f / "predictions.json").write_text("[]"), "must be a JSON object .* a list"),
        (lambda f: (f / "truth").rename(f / "elsewhere"), "the folder .*truth of the PNGs"),
        (lambda f: png(f).unlink(), "1 of 12 PNGs missing: .*predictions/1.png"),
        (
            lambda f: png(f).write_bytes(b"rubbish"),
            "predictions/1.png is a text file, which isn't read",
        ),
        (lambda f: png(f).write_bytes(png(f).read_bytes()[:45]), "cannot decode .*1.png"),
        (lambda f: Image.new("L", (4, 4)).save(png(f)), "1.png is a PNG of mode L .* must be RGB"),
        (
            lambda f: Image.new("RGB", (40, 30)).save(png(f)),
            r"1.png is 40 x 30, but the ground truth .*truth/1.png is \d+ x \d+",
        ),
        (
            lambda f: change(f / "predictions.json", lambda c: c["annotations"].pop(4)),
            "no prediction of 1 of 6 images .*: image_id 4",
        ),
        (
            lambda f: change(f / "predictions.json", unlist),
            r"predictions/1.png \(image_id 1\) has the ids .* doesn't list",
        ),
        (
            lambda f: change(f / "predictions.json", list_another),
            r"predictions/1.png \(image_id 1\) has no pixel of the ids 99",
        ),
        (
            lambda f: change(f / "predictions.json", strange_category),
            r"category_id 11, which the ground truth doesn't list \(image_id 1 has 11\)",
        ),
        (lambda f: change(f / "truth.json", lambda c: c.pop("categories")), "lists no categories"),
        (
            lambda f: change(f / "truth.json", lambda c: c["categories"][0].pop("isthing")),
            "categories.0. of .*truth.json: it has no 'isthing'; each has an id",
        ),
        (
            lambda f: change(f / "truth.json", lambda c: c["annotations"][2].pop("file_name")),
            "annotations.2. of .*truth.json: it has no 'file_name'",
        ),
        (
            lambda f: change(f / "truth.json", twice),
            r"annotations\[0\] and annotations\[6\] have one image_id, 0; keep one",
        ),
        (lambda f: change(f / "truth.json", lambda c: c["annotations"].clear()), "nothing to eval"),
        (
            lambda f: change(f / "truth.json", one_name),
            "the ids 0 and 1 are one file, a.jpg",
        ),
        (
            lambda f: change(f / "truth.json", one_id),
            "images.1. have one id, 0; keep",
        ),
        (
            lambda f: change(f / "predictions.json", one_png),
            "predictions.json gives the images 0 and 1 the same PNG, .*predictions/0.png",
        ),
        (
            lambda f: change(f / "predictions.json", other_ending),
            "1 of 12 PNGs missing: .*1.jpg; there is .*predictions/1.png: mend file_name",
        ),
        (
            lambda f: change(f / "predictions.json", other_categories),
            "category 'cat' has the id 5 in .*truth.json, but 3 in .*predictions.json: 2 categ",
        ),
        (lambda f: (f / "out").write_text(""), "out is a file, not a folder"),
    ],
)
def test_bad_files_are_one_clear_error(files: Path, capsys, spoil, message: str) -> None:
    spoil(files)
    assert run(files) == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed), printed
    assert printed.splitlines()[-1].startswith("kmax: error: ")
    assert not (files / "out" / "metrics.json").exists()


def test_every_entry_is_checked_before_a_pixel_is_read(files: Path, capsys) -> None:
    for folder in ("truth", "predictions"):
        for path in (files / folder).iterdir():
            path.write_bytes(b"rubbish")
    last = len(json.loads((files / "predictions.json").read_text())["annotations"]) - 1

    def edit(content) -> None:
        content["annotations"][last]["segments_info"].append({"id": 1e400, "category_id": 3})

    change(files / "predictions.json", edit)
    assert run(files) == 2
    error = capsys.readouterr().err
    assert re.search(r"annotations\[5\] of .*predictions.json: segments_info.*id must be", error)


def test_a_bad_file_is_the_same_error_from_a_worker(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(shared_work, "_SECONDS_A_HELPER", 1e-9)
    rng = np.random.default_rng(4)
    write_set(tmp_path, [oracle.random_image(rng, IDS) for _ in range(60)])
    (tmp_path / "predictions" / "40.png").write_bytes(b"rubbish")
    assert run(tmp_path, "--workers=2") == 2
    assert "40.png is a text file, which isn't read" in capsys.readouterr().err


def test_an_area_of_nothing_is_an_error(tmp_path: Path, capsys) -> None:
    ids = np.array([[1, 1]])
    entry = {"id": 1, "category_id": 3}
    write_set(tmp_path, [(ids, [{**entry, "area": 0, "iscrowd": 0}], ids, [{**entry, "score": 1}])])
    assert run(tmp_path) == 2
    assert "truth/0.png: the true segment 1 has pixels, but its stated area is 0" in (
        capsys.readouterr().err
    )
