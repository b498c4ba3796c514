"""The page in a browser, with a model whose segments are known."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.serving.served_model import Signature
from tests.serving.browser import chromium
from tests.serving.fake_model import ENCODED, FakeModel, png, served

HEIGHT, WIDTH = 40, 60  # of images: three parts, of which the last is sky
DIVISOR, CAT, SKY = 256, 200, 7
CAT_1, CAT_2, SKY_0, VOID = CAT * DIVISOR + 1, CAT * DIVISOR + 3, SKY * DIVISOR, 0
CONFIDENCES = np.array([0.8, 0.5, 0.9, 0.02], np.float32)
THRESHOLDS = {"pixel_threshold": 0.4, "thing_threshold": 0.7, "stuff_threshold": 0.7}
CLASSES = [
    {"id": CAT, "name": "cat", "thing": True, "color": [230, 40, 40], "original_id": 17},
    {"id": SKY, "name": "sky", "thing": False, "color": [60, 120, 240], "original_id": 3},
]


def png_of(values, dtype):
    file = io.BytesIO()
    Image.fromarray(values.astype(dtype)).save(file, "PNG")
    return file.getvalue()


def thirds(*values):
    return np.repeat(np.array(values), WIDTH // 3)[np.newaxis].repeat(HEIGHT, axis=0)


class Cats(FakeModel):
    """Two cats, of which the second is unsure, and sky."""

    def __init__(self):
        super().__init__()
        self.labels = {"dataset": "made", "label_divisor": DIVISOR, "classes": CLASSES}
        self.thresholds = {name: np.float32(value) for name, value in THRESHOLDS.items()}
        numbers = dict.fromkeys(THRESHOLDS, tf.TensorSpec(None, tf.float32))
        some = {"sizes": tf.TensorSpec([None, 2], tf.int32)}
        self.signatures = {
            name: Signature(name, inputs, some, lambda **_: {})
            for name, inputs in [
                ("with_thresholds", {**ENCODED, **numbers}),
                ("semantic", ENCODED),
                ("assignments", ENCODED),
            ]
        }

    def __call__(self, signature, inputs):
        outputs = {"sizes": np.array([HEIGHT, WIDTH], np.int32)}
        if signature.name == "semantic":
            outputs["semantic_png_bytes"] = png_of(thirds(CAT, CAT, SKY), np.uint8)
        elif signature.name == "assignments":
            stages = [thirds(0, 0, 1), thirds(0, 2, 1), thirds(0, 2, 1)]
            pngs = [png_of(stage, np.uint8) for stage in stages]
            outputs = {**outputs, "assignments_png_bytes": np.array(pngs, object)}
        else:
            outputs.update(self._panoptic({name: inputs[name][0] for name in THRESHOLDS}))
        return {
            name: np.array([value], object if isinstance(value, bytes) else None)
            for name, value in outputs.items()
        }

    def _panoptic(self, thresholds):
        thing, stuff = thresholds["thing_threshold"], thresholds["stuff_threshold"]
        kept = np.array([thing, thing, stuff, 2.0]) <= CONFIDENCES
        ids = np.where(kept, [CAT_1, CAT_2, SKY_0, CAT_1], VOID).astype(np.int32)
        there = np.flatnonzero(kept)
        there = there[np.argsort(-CONFIDENCES[there])]
        count, rest = len(there), 4 - len(there)
        boxes = np.array([[20 * place, 0, 20, HEIGHT] for place in there]).reshape(-1, 4)
        return {
            "panoptic_png_bytes": png_of(thirds(*ids[:3]), np.uint16),
            "ids": np.pad(ids[there], (0, rest)),
            "class_ids": np.pad(ids[there] // DIVISOR, (0, rest)),
            "scores": np.pad(CONFIDENCES[there], (0, rest)),
            "areas": np.pad(np.full(count, HEIGHT * WIDTH // 3, np.int32), (0, rest)),
            "boxes": np.pad(boxes, ((0, rest), (0, 0))),
            "count": np.int32(count),
            "segment_ids": ids,
            "segment_fates": np.where(kept, 0, [1, 1, 1, 2]).astype(np.int32),
            "segment_classes": np.array([CAT, CAT, SKY, CAT], np.int32),
            "segment_confidences": CONFIDENCES,
            "mask_areas": np.full(4, 800, np.int32),
        }


@pytest.fixture(scope="module")
def server():
    with served(Cats()) as client:
        yield client


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def page(server, browser):
    """The page, which must ask this server alone and have no errors of its own."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(60_000)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    here = f"http://127.0.0.1:{server.port}/"
    page.goto(here)
    page.wait_for_selector("#model:has-text('kmax, version 1, made: 2 classes')")
    yield page
    page.close()
    assert asked
    assert [url for url in asked if not url.startswith((here, "blob:", "data:"))] == []
    # Of answers that are errors, browsers tell by themselves.
    assert [text for text in said if "Failed to load resource" not in text] == []


def photo(name="photo.png"):
    return {"name": name, "mimeType": "image/png", "buffer": png((WIDTH, HEIGHT))}


def choose(page, *files):
    page.set_input_files("#files", list(files or [photo()]))
    page.wait_for_selector("figure:not([hidden]), #error:not([hidden])")
    page.wait_for_selector("#stage[aria-busy=false]")


def listed(page):
    return [text.split("\n") for text in page.locator("#segments button").all_inner_texts()]


def drop(page, **file):
    """Drops a file as a person does."""
    content = list(file["buffer"])
    transfer = page.evaluate_handle(
        """([bytes, name, type]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
          return transfer;
        }""",
        [content, file["name"], file["mimeType"]],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("figure:not([hidden])")


def color_at(page, x, y):
    """The canvas's color at shares of its width and height."""
    return page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("picture");
          const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1];
          return [...canvas.getContext("2d").getImageData(...at).data].slice(0, 3);
        }""",
        [x, y],
    )


def hover(page, x, y):
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    return page.inner_text("#tip")


def test_a_dropped_image_has_colors_names_and_a_word_for_each_segment(page):
    drop(page, **photo())
    page.wait_for_selector("#segments li")
    assert listed(page) == [["sky", "0.90", "33 %"], ["cat", "0.80", "33 %"]]
    red, _, blue = color_at(page, 0.1, 0.1)
    assert red > blue + 60  # a cat
    red, _, blue = color_at(page, 0.9, 0.1)
    assert blue > red + 60  # sky
    assert max(color_at(page, 0.5, 0.5)) < 10  # none: as black as the image
    assert hover(page, 0.2, 0.5) == "cat, score 0.80, 800 pixels (33 %)"
    assert page.locator("#segments button.lit").inner_text().startswith("cat")
    assert hover(page, 0.5, 0.5) == "no segment"
    assert "Not in the map: 1 mask" in page.inner_text("#dropped-title")
    told = page.locator("#dropped li").all_text_contents()
    assert told == ["cat: its confidence of 0.50 is below the threshold of 0.70 for its class."]


def test_thresholds_make_segments_come_and_go_by_keyboard(page):
    choose(page)
    page.focus("#slider-thing_threshold")
    page.keyboard.press("Home")
    page.wait_for_selector("#went li")
    assert page.inner_text("#went") == "cat came: its confidence is 0.50."
    assert [row[0] for row in listed(page)] == ["sky", "cat", "cat"]
    page.keyboard.press("End")
    page.wait_for_selector("#went li:has-text('went')")
    assert "cat went: its confidence of 0.80 is below the threshold of 1.00" in (
        page.inner_text("#went")
    )
    assert [row[0] for row in listed(page)] == ["sky"]
    page.focus("#reset")
    page.keyboard.press("Enter")
    page.wait_for_selector("#list-title:text-is('Segments: 2')")
    assert page.input_value("#slider-thing_threshold") == "0.7"


def test_views_and_blocks_change_by_keyboard(page):
    choose(page)
    page.focus("input[value=panoptic]")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#list-title:text-is('Instances: 1')")
    assert color_at(page, 0.9, 0.1) == [0, 0, 0]  # sky is none
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#list-title:text-is('Classes: 2')")
    assert listed(page) == [["cat", "67 %"], ["sky", "33 %"]]
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#stages:not([hidden])")
    assert page.inner_text("#stage-told") == "Block 1 of 2: 2 centers have pixels."
    page.focus("#stage-number")
    page.keyboard.press("ArrowRight")
    told = page.inner_text("#stage-told")
    assert told == "Block 2 of 2: 3 centers have pixels; 33 % of the pixels changed theirs."
    page.focus("#after")
    page.keyboard.press("Enter")
    assert page.inner_text("#stage-told").startswith("Final masks: 3 centers have pixels; 0.0 %")
    assert page.is_disabled("#after")
    assert color_at(page, 0.1, 0.1) != color_at(page, 0.5, 0.1)


def test_results_are_saved(page, server):
    choose(page, photo("holiday.photo.png"))

    def saved(button):
        with page.expect_download() as download:
            page.click(button)
        return download.value.suggested_filename, download.value.path().read_bytes()

    name, content = saved("#save-ids")
    assert name == "holiday.photo_panoptic_ids.png"
    assert np.array_equal(Image.open(io.BytesIO(content)), thirds(CAT_1, VOID, SKY_0))
    name, content = saved("#save-picture")
    picture = Image.open(io.BytesIO(content))
    assert (name, picture.size) == ("holiday.photo_panoptic.png", (WIDTH, HEIGHT))
    name, content = saved("#save-table")
    table = json.loads(content)
    assert (table["height"], table["width"], table["version"]) == (HEIGHT, WIDTH, 1)
    assert [(row["name"], row["id"], row["box"]) for row in table["segments"]] == [
        ("sky", SKY_0, [40, 0, 20, HEIGHT]),
        ("cat", CAT_1, [0, 0, 20, HEIGHT]),
    ]
    assert table["thresholds"] == THRESHOLDS


def test_errors_are_sentences_and_the_next_image_is_fine(page):
    choose(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello " * 9})
    told = page.inner_text("#error")
    assert re.fullmatch(r"notes\.txt: image 0 of image_bytes is a text file, .*\.", told)
    assert page.get_attribute("#error", "role") == "alert"
    page.route("**/v1/models/**", lambda route: route.abort())
    choose(page)
    page.wait_for_selector("#error:has-text('see whether kmax serve still runs.')")
    page.unroute("**/v1/models/**")
    choose(page)
    page.wait_for_selector("#segments li")
    assert page.is_hidden("#error")
    assert page.locator("#images button").count() == 3
    page.click("#images button[aria-label='notes.txt']")
    page.wait_for_selector("#error:has-text('notes.txt')")


def test_what_an_export_lacks_is_said(page, server, monkeypatch):
    page.evaluate("1")
    model = {
        "name": "kmax",
        "version": 1,
        "labels": {"classes": CLASSES},
        "signatures": ["semantic"],
    }
    answer = json.dumps({**model, "thresholds": {}, "most_bytes": 10**6})
    page.route("**/page/model.json", lambda route: route.fulfill(body=answer))
    page.reload()
    page.set_input_files("#files", [photo()])
    page.wait_for_selector("#lacking:has-text('no signature with_thresholds or compact')")
    page.check("input[value=clusters]")
    page.wait_for_selector("#lacking:has-text('no signature assignments')")
    page.check("input[value=semantic]")
    page.wait_for_selector("#segments li")
    assert page.is_hidden("#lacking")
    page.check("input[value=panoptic]")
    assert "thresholds are fixed" in page.inner_text("#thresholds")


@pytest.mark.parametrize("width", [320, 375])
def test_it_fits_a_phone(page, width):
    page.set_viewport_size({"width": width, "height": 700})
    choose(page, photo(), photo("another with a very long name that goes on and on and on.png"))
    for view in ("panoptic", "semantic", "clusters"):
        page.check(f"input[value={view}]")
        page.wait_for_selector("#segments li")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#picture").bounding_box()
        assert box["width"] <= width
        assert box["height"] > 100
    page.check("input[value=panoptic]")
    page.wait_for_selector("#list-title:text-is('Segments: 2')")
    finger = {"pointerType": "touch", "clientX": box["x"] + 9, "clientY": box["y"] + 9}
    for event in ("pointerdown", "pointerleave"):
        page.dispatch_event("#picture", event, finger)
    assert page.inner_text("#tip").startswith("cat, score 0.80")
    heights = [
        button.bounding_box()["height"] for button in page.locator("aside button:visible").all()
    ]
    assert min(heights) >= 36  # of fingers
