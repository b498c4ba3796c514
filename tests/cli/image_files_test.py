"""Images of a command line: files, folders, their names and their ids."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest

from kmax_tf.cli.image_files import find_images, image_ids
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


def test_a_list_and_patterns_are_as_if_they_stood_on_the_command_line(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_bytes("\ufeffphotos/cam2\r\n\r\nphotos/cam1/*.png\n".encode())
    listed = find_images([], ["list.txt"])
    assert listed == find_images(["photos/cam2", "photos/cam1/0000.png"])
    assert names(*(str(tree / "cam?" / pattern) for pattern in ("*0.png", "*1.JPG"))) == [
        *("cam1/0000", "cam2/0000", "cam2/0001")
    ]
    (tree / "cam1" / "a[1].png").touch()  # a name, not a pattern
    assert names(tree / "cam1" / "a[1].png") == ["a[1]"]


@pytest.mark.parametrize(
    ("paths", "lists", "message"),
    [
        ([], [], "no image is named"),
        (["*.nothing"], [], r"nothing fits \*\.nothing"),
        ([], ["missing.txt"], "cannot read the list missing.txt: No such file"),
        ([], ["utf16.txt"], "cannot read the list utf16.txt: it has zero bytes"),
    ],
)
def test_nothing_to_do_is_told(paths, lists, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "utf16.txt").write_bytes("a.png".encode("utf-16-le"))
    with pytest.raises(UserError, match=message):
        find_images(paths, lists)


def test_urls_are_files_folders_and_patterns_too(tree):
    url = f"file://{tree}"
    assert names(url) == ["cam1/0000", "cam2/0000", "cam2/0001"]
    assert names(f"{url}/cam2/0000.png") == ["0000"]
    assert names(f"{url}/cam1", f"{url}/cam2/*.JPG") == ["cam1/0000", "cam2/0001"]
    assert names("gs://a/x/1.png", "gs://b/1.png") == ["a/x/1", "b/1"]
    assert names("gs://a/x/1.png", "/data/1.png") == ["gs/a/x/1", "data/1"]
