"""Images that are worked through: what is said of those that can't be read."""

from __future__ import annotations

import re

from PIL import Image

from kmax_tf.cli.image_files import find_images
from kmax_tf.cli.images_in_turn import ImagesInTurn


def test_images_that_cannot_be_read_are_the_last_word(tmp_path, capsys):
    for name in ("a.png", "c.png"):
        Image.new("RGB", (4, 3), (9, 9, 9)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"")
    reading = ImagesInTurn(find_images([str(tmp_path)]), "predict")
    assert [(image.name, pixels.shape) for image, pixels in reading] == [
        *(("a", (3, 4, 3)), ("c", (3, 4, 3)))
    ]
    assert reading.end("results in out") == 1
    captured = capsys.readouterr()
    assert captured.out == "results in out\n"
    assert re.sub(r"[\d.]+/s, 0:0\d$", "RATE", captured.err, flags=re.MULTILINE).splitlines() == [
        f"kmax: error: {tmp_path / 'b.png'} is empty; copy or download it again",
        "predict: 3/3, RATE",
        f"kmax: error: 1 of 3 images could not be read: {tmp_path / 'b.png'}",
    ]


def test_no_image_that_can_be_read_leaves_no_results_to_name(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    reading = ImagesInTurn(find_images([str(tmp_path)]), "predict")
    assert not list(reading)
    assert reading.end("results in out") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("kmax: error: 1 of 1 image could not be read")


def test_all_that_cannot_be_read_are_listed(tmp_path, capsys):
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    reading = ImagesInTurn(find_images([str(tmp_path)]), "predict")
    assert not list(reading)
    assert reading.end("results in out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-8:-1] == [f"could not be read: {tmp_path}/{number}.png" for number in range(7)]
    assert lines[-1].endswith("4.png and 2 more, all listed above")
