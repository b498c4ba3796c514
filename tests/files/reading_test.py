import os
import unicodedata

import pytest

from kmax_tf.errors import UserError
from kmax_tf.files.reading import as_spelt, name_key, names_in, read_file

COMPOSED = unicodedata.normalize("NFC", "Größe é.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def test_a_name_is_found_however_it_is_spelt(tmp_path):
    folder = tmp_path / DECOMPOSED
    folder.mkdir()
    (folder / DECOMPOSED.replace("jpg", "JPG")).touch()
    (folder / "plain.png").touch()
    wanted = os.path.join(tmp_path, COMPOSED, COMPOSED)
    assert as_spelt(wanted) == str(folder / DECOMPOSED.replace("jpg", "JPG"))
    assert as_spelt(folder / "plain.png") == str(folder / "plain.png")
    assert as_spelt(tmp_path / COMPOSED) == str(folder)
    # One that is spelt as it is asked for comes first; of two others neither is the one.
    (folder / DECOMPOSED).touch()
    assert as_spelt(folder / DECOMPOSED) == str(folder / DECOMPOSED)
    assert as_spelt(folder / COMPOSED) == str(folder / COMPOSED)


def test_a_name_that_is_not_there_stays_as_it_is(tmp_path):
    for path in (
        "",
        "a/b.png",
        "/",
        str(tmp_path / "a" / "b.png"),
        "\0.png",
        "x" * 5000,
        "ram://b",
        "ram://b/c",
    ):
        assert as_spelt(path) == path
    (tmp_path / "A.png").touch()
    assert as_spelt(tmp_path / "a.png") == str(tmp_path / "a.png")


def test_new_files_are_seen(tmp_path):
    assert as_spelt(tmp_path / "a.png") == str(tmp_path / "a.png")
    (tmp_path / "a.PNG").touch()
    assert as_spelt(tmp_path / "a.png") == str(tmp_path / "a.PNG")


def test_other_names_stay_apart():
    assert name_key("a.jpg") != name_key("A.jpg")
    assert name_key("a.jpg") != name_key("a.jpeg")
    assert name_key(DECOMPOSED) == name_key(COMPOSED) == COMPOSED


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OSError, match="it is a folder"):
        read_file(tmp_path)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)  # root may read everything
    with pytest.raises(UserError, match=f"cannot read the folder {tmp_path}: Permission denied"):
        names_in(tmp_path)
