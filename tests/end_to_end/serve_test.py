"""`kmax serve` on the tiny export: what it answers, versions that come and go, its page."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.end_to_end.conftest import TinyRun
from tests.processes import ROOT
from tests.serving.browser import chromium
from tests.serving.fake_model import Client, png

PIXELS = 60_000


@dataclasses.dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    client: Client
    url: str
    export: Path
    images: list[Path]


@pytest.fixture(scope="module")
def server(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here; at the end it drains."""
    export = tmp_path_factory.mktemp("served") / "export"
    shutil.copytree(tiny_run.export, export)
    log = export.with_suffix(".log")
    # A first call takes seconds, and more where the machine has much else to do.
    limits = [f"--most-pixels={PIXELS}", "--most-seconds=300"]
    words = ["serve", f"--model={export}", "--port=0", *limits]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmax_tf.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"kmax, version 1: (http://127\.0\.0\.1:(\d+)/)\n", line)
    assert found, line + log.read_text()
    try:
        yield Server(Client(int(found[2])), found[1], export, tiny_run.images)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 0
        process.stdout.close()
    # TensorFlow's own lines, of which some versions have some, are no JSON.
    events = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
    assert events[-1]["event"] == "drained"
    assert {event["level"] for event in events} <= {"info", "error"}
    assert not [event for event in events if "traceback" in event]


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def outputs_of(server: Server, signature: str, **inputs: Any) -> dict[str, Any]:
    answer = server.client.predict(signature, inputs)
    assert answer.status == 200, answer.content
    return answer.content["outputs"]


def test_replies_are_what_the_signatures_give(server: Server) -> None:
    encoded = [path.read_bytes() for path in server.images[:2]]
    told = [b64(data) for data in encoded]
    compact = tf.saved_model.load(str(server.export / "1")).signatures["compact"]
    expected = {key: x.numpy() for key, x in compact(image_bytes=tf.constant(encoded)).items()}
    replied = outputs_of(server, "compact", image_bytes=told)
    assert replied.keys() == expected.keys()
    for key, value in expected.items():
        if key.endswith("_bytes"):
            assert replied[key] == [b64(data) for data in value]
        else:
            np.testing.assert_array_equal(np.asarray(replied[key], value.dtype), value)
    # What the others say fits to it.
    labels = json.loads((server.export / "1" / "assets.extra" / "labels.json").read_text())
    adjusted = outputs_of(server, "with_thresholds", image_bytes=told, **labels["thresholds"])
    assert {key: adjusted[key] for key in replied} == replied
    maps = outputs_of(server, "image_bytes", image_bytes=told[:1])
    ids = pixels_of(replied["panoptic_png_bytes"][0])
    assert np.array_equal(np.asarray(maps["panoptic"])[0], ids)
    semantic = outputs_of(server, "semantic", image_bytes=told[:1])
    assert np.array_equal(maps["semantic"][0], pixels_of(semantic["semantic_png_bytes"][0]))
    instances = outputs_of(server, "instances", image_bytes=told[:1])
    assert {*instances["ids"][0][: instances["count"][0]]} <= {*replied["ids"][0]}
    assigned = outputs_of(server, "assignments", image_bytes=told[:1])["assignments_png_bytes"][0]
    assert len(assigned) > 2  # of blocks, and of the final masks
    assert {pixels_of(png).shape for png in assigned} == {ids.shape}
    pixels = np.asarray(Image.open(server.images[0]))
    maps = outputs_of(server, "serving_default", images=pixels[np.newaxis].tolist())
    assert np.shape(maps["panoptic"]) == (1, *pixels.shape[:2])


def pixels_of(png: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png["b64"]))))


def test_images_of_all_kinds_get_a_map_or_a_sentence(server: Server) -> None:
    photo = server.images[0].read_bytes()
    deep = io.BytesIO()
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(deep, "PNG")
    frames = [Image.new("L", (20, 30), 90 * number) for number in range(3)]
    animation = png((20, 30), "L", format="GIF", save_all=True, append_images=frames)
    good = {
        "photo": photo,
        "one pixel": png((1, 1)),
        "16 bits": deep.getvalue(),
        "grey": png(mode="L"),
        "animated": animation,
        "wide": png((300, 1)),
    }
    for name, data in good.items():
        reply = outputs_of(server, "compact", image_bytes=[b64(data)])
        with Image.open(io.BytesIO(data)) as image:
            assert reply["sizes"] == [[image.height, image.width]], name
    bad = {
        "is empty": b"",
        "its end is missing": photo[: len(photo) // 2],
        "it is a CMYK JPEG": png(mode="CMYK", format="JPEG"),
        "is a text file": b"hello " * 20,
        "of the kind TIFF": png(format="TIFF"),
        "300 x 201 pixels; at most 60000 are taken": png((300, 201)),
    }
    for sentence, data in bad.items():
        answer = server.client.predict("compact", {"image_bytes": [b64(data)]})
        assert answer.status == 422, sentence
        assert "image 0 of image_bytes" in answer.content["error"]
        assert sentence in answer.content["error"]
    # One of a batch spoils that batch, and names itself.
    answer = server.client.predict("semantic", [b64(photo), b64(png(mode="CMYK", format="JPEG"))])
    assert answer.content["error"].startswith("image 1 of image_bytes: it is a CMYK JPEG")
    assert server.client.predict("compact", [b64(photo)]).status == 200


def test_status_and_metadata_are_those_of_tensorflow_serving(server: Server) -> None:
    status = server.client.ask("/v1/models/kmax/versions/1").content
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    metadata = server.client.ask("/v1/models/kmax/metadata").content
    assert metadata["model_spec"]["version"] == "1"
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["images"]["dtype"] == "DT_UINT8"
    shape = signatures["compact"]["outputs"]["boxes"]["tensor_shape"]
    assert [side["size"] for side in shape["dim"]] == ["-1", "-1", "4"]
    assert server.client.ask("/v1/models/kmax/versions/7:predict", b"{}").status == 404


def test_a_half_written_version_is_told_of_and_one_that_vanishes_stays(server: Server) -> None:
    half = server.export / "2"
    half.mkdir()
    for name in ("saved_model.pb", "assets.extra"):
        source = server.export / "1" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, half / name)
    with (half / "saved_model.pb").open("r+b") as file:
        file.truncate((half / "saved_model.pb").stat().st_size // 2)
    statuses = _statuses_of(server, 2)
    assert [status["state"] for status in statuses] == ["END", "AVAILABLE"]
    assert "cannot load the SavedModel" in statuses[0]["status"]["error_message"]
    shutil.move(server.export, server.export.with_suffix(".gone"))
    try:
        time.sleep(2.5)  # it looks every two seconds
        photo = server.images[0].read_bytes()
        assert server.client.predict("compact", [b64(photo)]).status == 200
    finally:
        shutil.move(server.export.with_suffix(".gone"), server.export)
        shutil.rmtree(half)


def _statuses_of(server: Server, count: int) -> list[dict[str, Any]]:
    for _ in range(200):
        statuses = server.client.ask("/v1/models/kmax").content["model_version_status"]
        if len(statuses) == count:
            return statuses
        time.sleep(0.1)
    raise AssertionError(statuses)


def test_the_page_shows_a_photo(server: Server) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.wait_for_selector("#model:has-text('kmax, version 1, shapes: 9 classes')")
        page.set_input_files("#files", str(server.images[0]))
        page.wait_for_selector("figure:not([hidden])")
        for slider in ("pixel", "thing", "stuff", "overlap"):
            page.focus(f"#slider-{slider}_threshold")
            page.keyboard.press("Home")
        page.wait_for_selector("#segments li")  # nothing is refused now
        page.check("input[value=clusters]")
        page.wait_for_selector("#stage-told:has-text('Block 1 of ')")
        assert page.is_hidden("#error")
