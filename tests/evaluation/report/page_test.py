"""The report: what it says, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import html.parser
import io
import re

import numpy as np
import PIL.Image
import pytest

from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.report.gallery import Gallery
from kmax_tf.evaluation.report.page import templates, write_report
from tests.reference.panoptic_maps import (
    CAT_1,
    DIVISOR,
    DOG_1,
    DOG_2,
    LABELS,
    ROADS,
    VOID,
    runs,
)

TRUTH = runs((DOG_1, 60), (DOG_2, 60), (ROADS, 60), (VOID, 20)).reshape(10, 20)
PREDICTION = runs((DOG_1, 48), (ROADS, 12), (CAT_1, 24), (ROADS, 36), (ROADS, 80)).reshape(10, 20)


class Page(html.parser.HTMLParser):
    """Collects tags, their attributes and the text; checks that tags are closed."""

    def __init__(self, text: str):
        super().__init__()
        self.attributes, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def write(folder, *predictions, truth=TRUTH, notes=()):
    metrics = PanopticMetrics(LABELS, mask_ap=False)
    gallery = Gallery(LABELS, metrics.extremes)
    image = np.random.default_rng(0).integers(0, 256, (*TRUTH.shape, 3), np.uint8)
    for number, prediction in enumerate(predictions):
        maps = {"panoptic": prediction, "semantic": prediction // DIVISOR}
        metrics.update(number, truth, maps)
        gallery.keep(number, image, truth, prediction)
    result = {**metrics.result(), "notes": list(notes)}
    pictures = gallery.pictures()
    path = write_report(folder, result, LABELS, metrics.confusion, pictures, "a <title>")
    with open(path, encoding="utf-8") as file:
        page = Page(file.read())
    assert page.open == []
    return page


def test_report_is_one_file_without_links_to_others(tmp_path):
    page = write(tmp_path, TRUTH, PREDICTION)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    links = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(links) > 8
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)
    targets = {value for _, name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} == targets


def test_report_says_scores_and_names(tmp_path):
    page = write(tmp_path, PREDICTION, notes=["mind <this> & that"])
    for text in (
        "a <title>",
        "mind <this> & that",
        "dog",
        "53.3",
        "1 image at original resolution",
    ):
        assert any(text in said for said in page.texts), text
    classes = [value for tag, name, value in page.attributes if (tag, name) == ("tr", "class")]
    assert classes.count("class absent") == 1  # no sky
    # The second dog: 24 of 60 pixels are taken for a cat, 36 for road.
    assert any("dog predicted as cat: 20.0 %" in said for said in page.texts)


def test_pictures_show_the_worst_first(tmp_path):
    page = write(tmp_path, TRUTH, PREDICTION, np.full_like(TRUTH, VOID), TRUTH)
    said = [text for text in page.texts if re.fullmatch(r"PQ [\d.]+", text)]
    # The first dog and the road match, with 48 of 60 and 60 of 108 pixels.
    assert said == ["PQ 0.0", f"PQ {100 * (48 / 60 + 60 / 108) / 3:.1f}", "PQ 100.0", "PQ 100.0"]
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(pictures) == 4 * 4


def test_nothing_labeled_makes_a_report_too(tmp_path):
    empty = np.full_like(TRUTH, VOID)
    assert "No labeled pixels." in write(tmp_path, empty, truth=empty).texts


def test_gallery_keeps_little():
    large = np.full((1500, 3000), ROADS, np.int32)
    large[:, 1500:] = VOID
    image = np.zeros((1500, 3000, 3), np.uint8)
    image[:, 1500:] = 200
    metrics = PanopticMetrics(LABELS, mask_ap=False)
    metrics.update("a", large, {"panoptic": large, "semantic": large // DIVISOR})
    gallery = Gallery(LABELS, metrics.extremes)
    gallery.keep("a", image, large, large)
    (picture,) = gallery.pictures()["Best images"]
    shown = {name: np.asarray(PIL.Image.open(io.BytesIO(jpeg))) for name, jpeg in picture.panels}
    assert {pixels.shape for pixels in shown.values()} == {(480, 960, 3)}
    assert (shown["image"][:, :480] == 0).all()
    assert (shown["image"][:, 480:] == 200).all()


def test_pictures_are_jpegs_of_the_panels(tmp_path):
    page = write(tmp_path, TRUTH, PREDICTION)
    uri = next(value for _, name, value in page.attributes if name == "src")
    with PIL.Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        assert picture.format == "JPEG"
        assert picture.size[0] == 2 * picture.size[1]


def draw(chart, *arguments):
    return str(getattr(templates().get_template("charts.html").module, chart)(*arguments))


def test_bars_have_the_length_of_their_score():
    bar = draw("score_bar", {"pq": 50.0, "sq": 75.0, "rq": 25.0}, "#123")
    assert '<rect width="120.0"' in bar
    assert 'x1="180.0"' in bar
    assert 'cx="60.0"' in bar
    assert "no segment, crowd regions aside" in draw(
        "score_bar", dict.fromkeys(("pq", "sq", "rq"), np.nan), "#123"
    )


def test_columns_have_the_height_of_their_score():
    scores = {"small": 40.0, "medium": np.nan, "large": 100.0}
    groups = ("all", "things", "stuff")
    chart = draw("size_chart", {size: dict.fromkeys(groups, s) for size, s in scores.items()})
    for height in ("60.0", "0.0", "150.0"):
        assert chart.count(f'height="{height}"') == len(groups)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.2, 1.0])
def test_cells_say_shares_that_can_be_seen(share):
    chart = draw("confusion_matrix", [[share]], ["a & b"], ["c"])
    assert "a &amp; b predicted as c" in chart
    assert (f">{100 * share:.0f}</text>" in chart) == (share >= 0.005)
