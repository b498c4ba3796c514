"""What a conversion and an inspection show people."""

import json
import re

import numpy as np
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.conversion.dataset_page import SplitPage, area_bars, count_bars, dataset_page
from kmax_tf.conversion.inspection import cut_off
from kmax_tf.records.statistics import Statistics

SQUARE = [[2, 2, 30, 2, 30, 30, 2, 30]]
LINE = [[5, 35, 60, 35, 60, 36, 5, 36]]


def test_bars_put_wide_ranges_together():
    assert [(bar.label, bar.number) for bar in count_bars({0: 2, 3: 1})] == [
        ("0", 2),
        ("1", 0),
        ("2", 0),
        ("3", 1),
    ]
    bars = count_bars({0: 1, 99: 2})
    assert (bars[0].label, bars[-1].label, len(bars)) == ("0 - 4", "95 - 99", 20)
    assert sum(bar.number for bar in bars) == 3
    assert [bar.label for bar in area_bars({0: 1, 2: 2})] == ["50 %", "70.7 %", "100 %"]


def test_a_page_holds_all_it_shows(labels):
    seen = Statistics()
    seen.add_image(10, 20, {3: [5]}, labels)
    refused = [("<b>.png", "it has no & annotation")]
    split = SplitPage(seen, refused, [("a", "val", "b")], ["odd"], ["cut"])
    page = dataset_page("mine", {"train": split}, labels)
    for words in ("&lt;b&gt;.png", "no &amp; annotation", "b of val", "odd", "cut", "1 image"):
        assert words in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)


def test_cut_offs_are_sentences():
    seen = Statistics(10, {"1000x500": 4, "60x50": 6}, {}, 9)
    seen.segments_per_image = {2: 7, 9: 3}
    seen.relative_areas = {2: 90, 16: 10}
    sentences = cut_off(seen, (65, 129), num_centers=8, area_limit=100)
    assert sentences == [
        "4 of 10 images are larger than the crop of 129 x 65 and are shrunk, at most 7.8 times",
        "10 of 100 segments (10.0 %) have less than 100 pixels there, which post-processing drops "
        "(thing_area_limit)",
        "3 of 10 images have more segments than the 8 cluster centers, 9 at most: raise "
        "model.transformer_decoder.num_centers",
    ]
    assert cut_off(seen, (513, 1025), num_centers=9, area_limit=0) == []


def instances(root, split, polygons, shade):
    """Two images with the same polygons, a polygon an annotation."""
    folder = root / split
    folder.mkdir(parents=True)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "bolt"}]}
    for number in (1, 2):
        content["images"].append({"id": number, "file_name": f"{split}{number}.png"})
        Image.new("RGB", (64, 48), (shade, number, 0)).save(folder / f"{split}{number}.png")
        for polygon in polygons:
            content["annotations"].append(
                {"image_id": number, "category_id": 1, "segmentation": polygon}
            )
    (folder / "_annotations.coco.json").write_text(json.dumps(content))


def test_equal_images_doubled_masks_and_slips_are_shown(tmp_path, capsys):
    root, output = tmp_path / "mine", tmp_path / "records"
    instances(root, "train", [SQUARE, SQUARE, LINE], 0)
    instances(root, "valid", [SQUARE], 0)
    arguments = ["--source", str(root), "--output", str(output), "--workers", "1"]
    assert main(["convert-dataset", "auto", *arguments]) == 0
    out = capsys.readouterr().out
    assert (
        "warning: 2 images of val are also in other splits, such as valid1 (train1 of train)" in out
    )
    report = json.loads((output / "report.json").read_text())
    assert report["val"]["equal_images"][0] == {
        "name": "valid1",
        "split": "train",
        "other": "train1",
    }
    assert "equal_images" not in report["train"]
    reasons = [entry["reason"] for entry in report["train"]["refused"]]
    words = "its mask is that of annotation {} of _annotations.coco.json; remove one"
    assert reasons == [words.format(1), words.format(4)]
    page = (output / "report.html").read_text()
    assert "its mask is that of annotation 1" in page
    assert "train1 of train" in page
    assert main(["inspect-dataset", str(output)]) == 0
    page = (output / "inspection.html").read_text()
    for words in ("Odd: slivers", "Examples of bolt", "Equal labels of several images"):
        assert words in page
    assert page.count("data:image/jpeg;base64,") >= 8
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert np.array(Image.open(output / "examples_train.png")).ndim == 3
