"""Images of a command line: files, folders, their names and their ids."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest
from PIL import Image

from kmax_tf.cli.image_files import ImagesInTurn, find_images, image_ids
from kmax_tf.errors import UserError


@pytest.fixture
def tree(tmp_path):
    for name in ("cam1/0000.png", "cam2/0000.png", "cam2/0001.JPG", "cam2/notes.txt", ".x/a.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def names(*paths):
    return [image.name for image in find_images([str(path) for path in paths])]


def test_a_folder_is_its_images(tree):
    assert names(tree) == ["cam1/0000", "cam2/0000", "cam2/0001"]
    assert names(tree / "cam2") == ["0000", "0001"]
    assert names(tree / "cam1", tree / "cam2") == ["cam1/0000", "cam2/0000", "cam2/0001"]


def test_files_are_known_below_what_they_have_in_common(tree):
    assert names(tree / "cam2" / "0000.png") == ["0000"]
    assert names(tree / "cam1" / "0000.png", tree / "cam2" / "0000.png") == [
        *("cam1/0000", "cam2/0000")
    ]
    assert names(tree / "cam1", tree / "missing.jpg") == ["cam1/0000", "missing"]


def test_a_folder_without_images_and_an_image_named_twice_are_errors(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no images: no file ends in"):
        names(tmp_path / "empty")
    with pytest.raises(UserError, match="is named twice"):
        names(tree / "cam1", tree / "cam1" / "0000.png")


def ids(path, images, *entries):
    content = {"images": [{"id": i, "file_name": n} for i, n in entries], "annotations": []}
    path.write_text(json.dumps(content))
    return image_ids(find_images([str(image) for image in images]), str(path))


def test_ids_are_those_of_the_annotations(tree, tmp_path):
    json_path = tmp_path / "a.json"
    entries = (9, "cam1/0000.png"), ("second", "cam2/0000.png"), (3, "cam2/0001.jpg")
    assert ids(json_path, [tree], *entries) == [9, "second", 3]
    # The list knows other folders, but one image only of the name.
    assert ids(json_path, [tree / "cam2" / "0001.JPG"], *entries) == [3]
    assert ids(json_path, [tree / "cam2" / "0001.JPG"], (4, "x/0001.png")) == [4]


def test_an_image_that_the_annotations_do_not_tell_is_named(tree, tmp_path):
    entries = (9, "cam1/0000.png"), (8, "cam2/0000.png")
    for image in ("cam1/0000.png", "cam2/0001.JPG"):  # one of two cameras; none
        with pytest.raises(UserError, match=r"lists no image of the file name 000"):
            ids(tmp_path / "a.json", [tree / image], *entries)


def test_names_of_digits_are_ids(tmp_path):
    images = [tmp_path / name for name in ("000000000139.jpg", "ADE_1.jpg", "7\u00b2.jpg")]
    assert image_ids(find_images([str(i) for i in images]), None) == [139, "ADE_1", "7\u00b2"]


def test_an_id_is_of_the_file_of_that_ending_and_however_accents_are_written(tmp_path):
    names = ["a.jpg", "a.png", unicodedata.normalize("NFD", "é.png")]
    for name in names:
        (tmp_path / name).touch()
    entries = [(1, "a.png"), (2, "a.jpg"), (3, unicodedata.normalize("NFC", "é.PNG"))]
    images = [tmp_path / name for name in names]
    assert ids(tmp_path / "list.json", images, *entries) == [2, 1, 3]


def test_a_folder_that_cannot_be_read_is_told(tree, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", f"{folder}/cam1"))
        return []

    monkeypatch.setattr(os, "walk", walk)  # root may read everything
    with pytest.raises(UserError, match=r"cannot read the folder .*cam1: Permission denied"):
        names(tree)


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
    assert captured.err.splitlines() == [
        f"kmax: error: {tmp_path / 'b.png'} is empty; copy or download it again",
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
