"""`kmax predict` without a model: what is read, written, found again, and told of what fails."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from kmax_tf.cli.main import main
from kmax_tf.export import predictor
from kmax_tf.files import writing
from kmax_tf.files.videos import open_video, write_video
from tests.cli.one_thing import OneThing
from tests.processes import ROOT

RESULTS = (".png", ".json", "_overlay.png")


def picture(path, size=(8, 6), color=(200, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def written(folder):
    """The results in a folder by their names; hidden files are none."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


@pytest.fixture
def model(monkeypatch):
    """The model that is loaded; setting `model.identity` puts another in its place."""
    one = OneThing()
    monkeypatch.setattr(predictor, "load_predictor", lambda model, needed: one)
    return one


@pytest.fixture
def predict(model, tmp_path, capsys):
    """Runs the command on images of tmp_path: status, output, error, and images computed."""

    def run(*words, output=tmp_path / "out"):
        model.batches.clear()
        words = [str(word) for word in words]
        status = main(["predict", "--model=any", f"--output={output}", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, sum(shape[0] for shape in model.batches)

    return run


def annotations(output, name="predictions.json"):
    content = json.loads((output / name).read_text())
    return content["annotations"] if name == "predictions.json" else content


def test_what_could_be_read_is_in_the_joined_files(predict, tmp_path):
    picture(tmp_path / "7.png")
    (tmp_path / "8.png").write_bytes((tmp_path / "7.png").read_bytes()[:40])
    both = ["--write=panoptic", "--write=instances", tmp_path / "8.png", tmp_path / "7.png"]
    status, _, errors, _ = predict(*both)
    assert status == 1
    assert "1 of 2 images could not be read" in errors.splitlines()[-1]
    output = tmp_path / "out"
    assert [entry["image_id"] for entry in annotations(output)] == [7]
    assert [entry["image_id"] for entry in annotations(output, "instances.json")] == [7]


def test_nothing_is_written_where_all_images_fail(predict, tmp_path):
    (tmp_path / "8.png").write_bytes(b"no image")
    status, printed, errors, _ = predict(tmp_path / "8.png", tmp_path / "9.png")
    assert status == 1
    assert errors.splitlines()[-1].startswith("kmax: error: 2 of 2 images could not be read")
    assert "results" not in printed
    assert not list((tmp_path / "out").iterdir())


def declared_png(width, height):
    """A PNG of a few bytes that says to be so large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [header, b"IDAT" + zlib.compress(bytes(99)), b"IEND"]
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GREY = Image.new("L", (9, 5), 70)
GOOD = {
    "one_pixel.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
    "sixteen_bits.png": encoded(Image.fromarray(np.full((5, 9), 40000, np.uint16)), "PNG"),
    "cmyk.jpg": encoded(Image.new("CMYK", (9, 5), (9, 99, 0, 40)), "JPEG"),
    "animated.gif": encoded(GREY, "GIF", save_all=True, append_images=[GREY.rotate(180)]),
    "palette.bmp": encoded(GREY.convert("P"), "BMP"),
}
NOISE = Image.effect_noise((64, 64), 90)
BAD = {
    "truncated.jpg": (encoded(NOISE, "JPEG")[:700], "cannot decode"),
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"no image at all", "is a text file, which isn't read"),
    "noise.jpg": (bytes(range(7, 200)), "it is no image, or of an unknown format"),
    "page.jpg": (b"<!DOCTYPE html><html></html>", "is a web page, which isn't read"),
    "huge.png": (declared_png(9000, 9000), "has 9000 x 9000 pixels; at most 67108864 are read"),
    "bomb.png": (declared_png(65535, 65535), "has more than the 67108864 pixels that are read"),
}


def test_odd_images_are_predicted_and_bad_ones_told(predict, tmp_path):
    for name, content in {**GOOD, **{name: data for name, (data, _) in BAD.items()}}.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    status, printed, errors, _ = predict(tmp_path / "in")
    assert status == 1
    assert printed.splitlines()[-1] == f"results in {tmp_path / 'out'}"
    names = {name.partition(".")[0] for name in GOOD}
    assert written(tmp_path / "out").keys() == {
        *(name + ending for name in names for ending in RESULTS),
        "predictions.json",
    }
    assert {entry["image_id"] for entry in annotations(tmp_path / "out")} == names
    for name, (_, reason) in BAD.items():
        (line,) = [x for x in errors.splitlines() if x.startswith("kmax: error:") and name in x][:1]
        assert reason in line
        assert f"could not be read: {tmp_path / 'in' / name}\n" in errors
    assert f"{len(BAD)} of {len(GOOD) + len(BAD)} images could not" in errors.splitlines()[-1]


def test_batches_are_of_one_size_and_change_nothing(predict, model, tmp_path):
    for number in range(9):
        size = [(8, 6), (9, 6), (8, 7)][number % 3]
        picture(tmp_path / "in" / f"{number}.png", size, (number, number, number))
    assert predict(tmp_path / "in", "--batch-size=1")[3] == 9
    assert {shape[0] for shape in model.batches} == {1}
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'in'}\n")
    listed = f"--list={tmp_path / 'list.txt'}"
    assert predict(listed, "--batch-size=2", output=tmp_path / "two")[3] == 9
    sizes = [(6, 8, 3), (6, 9, 3), (7, 8, 3)]
    assert sorted(model.batches) == sorted((n, *size) for n in (1, 2) for size in sizes)
    assert written(tmp_path / "two") == written(tmp_path / "out")


def test_only_what_is_new_or_changed_is_done_again(predict, model, tmp_path):
    for number in range(4):
        picture(tmp_path / "in" / f"{number}.png")
    assert predict(tmp_path / "in", "--write=panoptic", "--write=instances")[3] == 4
    first = written(tmp_path / "out")
    same = tmp_path / "in", "--write=panoptic", "--write=instances"
    status, printed, _, computed = predict(*same)
    assert (status, computed) == (0, 0)
    assert "4 images finished before" in printed
    assert written(tmp_path / "out") == first
    picture(tmp_path / "in" / "4.png")
    picture(tmp_path / "in" / "1.png", size=(12, 6))
    (tmp_path / "out" / "2_overlay.png").unlink()
    assert predict(*same)[3] == 3
    assert len(annotations(tmp_path / "out")) == 5
    model.identity = "another"
    assert predict(*same)[3] == 5
    assert predict(tmp_path / "in", "--write=instances", output=tmp_path / "out")[3] == 5
    # What somebody changed is neither kept as a result nor replaced.
    (tmp_path / "out" / "3_instances.json").write_text("[]")
    status, _, errors, _ = predict(tmp_path / "in", "--write=instances")
    assert status == 2
    assert "3_instances.json is there already, and isn't what `kmax predict` wrote" in errors


def test_a_killed_command_goes_on_where_it_was(predict, tmp_path):
    for number in range(60):
        picture(tmp_path / "in" / f"{number:02d}.png", color=(number, number, number))
    words = ["--model=any", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    notes = tmp_path / "out" / ".predicted"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.one_thing", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        if notes.is_dir() and len(list(notes.glob("[0-9]*.json"))) >= 3:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL
    finished = len(list(notes.glob("[0-9]*.json")))
    assert not (tmp_path / "out" / "predictions.json").exists()
    status, printed, _, computed = predict(tmp_path / "in")
    assert (status, computed) == (0, 60 - finished)
    assert f"{finished} images finished before" in printed
    predict(tmp_path / "in", output=tmp_path / "whole")
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    assert [e["image_id"] for e in annotations(tmp_path / "out")] == list(range(60))


def test_a_full_disk_is_one_error_and_what_is_finished_stays(predict, tmp_path, monkeypatch):
    for number in range(8):
        picture(tmp_path / "in" / f"{number}.png")
    syncs = []

    def fsync(file):
        syncs.append(file)
        if len(syncs) > 15:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "fsync", fsync)
    status, _, errors, computed = predict(tmp_path / "in")
    assert status == 2
    assert errors.splitlines()[-1].endswith("No space left on device")
    assert errors.splitlines()[-1].startswith(f"kmax: error: cannot write {tmp_path / 'out'}")
    assert "predict: run the same again, and it goes on" in errors
    assert "Traceback" not in errors
    assert not [p for p in (tmp_path / "out").glob(".[0-9]*")]  # no halves
    monkeypatch.undo()
    monkeypatch.setattr(predictor, "load_predictor", lambda model, needed: OneThing())
    finished = len(list((tmp_path / "out" / ".predicted").iterdir()))
    assert 0 < finished < computed <= 8
    assert f"{finished} image" in predict(tmp_path / "in")[1]
    assert [e["image_id"] for e in annotations(tmp_path / "out")] == list(range(8))


def test_the_first_result_and_the_rate_are_told(predict, tmp_path):
    picture(tmp_path / "7.png")
    errors = predict(tmp_path / "7.png")[2].splitlines()
    assert errors[0].startswith("predict: 1/1, ")
    number = r"\d+\.\d"
    told = f"after {number} s: imports {number}, the model {number}, the image {number}"
    assert re.fullmatch(f"predict: first results {told}", errors[1])


def test_images_and_results_may_be_remote(predict, tmp_path):
    picture(tmp_path / "in" / "a" / "7.png")
    picture(tmp_path / "in" / "b" / "7.png")
    there = f"file://{tmp_path}/there"
    status, printed, _, computed = predict(f"file://{tmp_path}/in", output=there)
    assert (status, computed, printed) == (0, 2, f"results in {there}\n")
    predict(tmp_path / "in")
    assert written(tmp_path / "there") == written(tmp_path / "out")
    assert predict(f"file://{tmp_path}/in", output=there)[3] == 0


def clip(path, count):
    write_video(path, (np.full((40, 60, 3), 9 * n, np.uint8) for n in range(count)), 10.0)


def test_a_video_becomes_one_of_overlays(predict, model, tmp_path, monkeypatch):
    clip(tmp_path / "cam" / "clip.mp4", 6)
    batch = model.batch

    def interrupted(images):
        if len(model.batches) == 4:
            raise KeyboardInterrupt
        return batch(images)

    monkeypatch.setattr(model, "batch", interrupted)
    assert predict(tmp_path / "cam" / "clip.mp4")[0] == 130
    assert not written(tmp_path / "out")
    monkeypatch.setattr(model, "batch", batch)
    status, _, _, computed = predict(tmp_path / "cam" / "clip.mp4")
    assert status == 0
    assert 2 <= computed < 6  # those in the air when it was interrupted, and the rest
    assert written(tmp_path / "out").keys() == {"clip_overlay.mp4"}
    with open_video(str(tmp_path / "out" / "clip_overlay.mp4")) as video:
        assert video.timing == (6, 10.0)
        assert video.read(0).shape == (440, 660, 3)  # so that names can be read
    assert not list((tmp_path / "out" / ".frames").rglob("*.jpg"))
    assert predict(tmp_path / "cam" / "clip.mp4")[3] == 0


def test_a_video_becomes_results_of_its_frames(predict, tmp_path):
    clip(tmp_path / "clip.mp4", 3)
    picture(tmp_path / "clip.png")
    words = [tmp_path / "clip.mp4", tmp_path / "clip.png", "--video=frames"]
    status, _, errors, computed = predict(*words)
    assert (status, computed) == (0, 4)
    assert "predict: 4/4" in errors
    ids = [f"clip.mp4/{number:06d}" for number in range(3)]
    assert [entry["image_id"] for entry in annotations(tmp_path / "out")] == [*ids, "clip.png"]
    assert {f"{name}{end}" for name in ids for end in RESULTS} < written(tmp_path / "out").keys()
    assert predict(*words)[3] == 0
    (tmp_path / "broken.mp4").write_bytes(b"")
    status, _, errors, computed = predict(tmp_path / "broken.mp4", *words)
    assert (status, computed) == (1, 0)
    assert "broken.mp4" in errors.splitlines()[-1]
    assert [entry["image_id"] for entry in annotations(tmp_path / "out")] == [*ids, "clip.png"]


def test_a_batch_of_no_images_is_refused(predict, capsys):
    with contextlib.suppress(SystemExit):
        predict("x.png", "--batch-size=0")
    assert "'0' is no number of images" in capsys.readouterr().err
