"""Commands replace what they wrote themselves, and nothing else."""

from __future__ import annotations

import json

import pytest

from kmax_tf.errors import OutputError
from kmax_tf.files.ownership import NOTES, check_free, note_written, writing_as
from kmax_tf.files.writing import write_atomically


def write(path, text, command="kmax a", **options):
    with writing_as(command, **options):
        write_atomically(path, text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "result.txt"


def test_a_command_replaces_its_own_files_again_and_again(path):
    for text in ("one", "two", "one", "three"):
        write(path, text)
        assert path.read_text() == text
    assert len((path.parent / NOTES).read_text().splitlines()) == 3


def test_what_others_wrote_stays(path):
    path.write_text("a photo")
    with pytest.raises(OutputError, match=r"result.txt is there already, .*`kmax a`.*--overwrite"):
        write(path, "one")
    assert path.read_text() == "a photo"
    write(path, "one", overwrite=True)
    write(path, "two")  # it is the command's own now
    with pytest.raises(OutputError):
        write(path, "three", command="kmax b")
    assert path.read_text() == "two"


def test_what_was_changed_since_stays(path):
    write(path, "one")
    path.write_text("changed")
    with pytest.raises(OutputError):
        write(path, "two")
    assert path.read_text() == "changed"


def test_nothing_is_lost_where_the_same_is_there(path):
    path.write_text("one")
    write(path, "one")
    assert path.read_text() == "one"


def test_folders_and_links_are_in_the_way_too(path, tmp_path):
    path.symlink_to(tmp_path / "nowhere")
    folder = tmp_path / "folder"
    folder.mkdir()
    for occupied in (path, folder):
        with pytest.raises(OutputError), writing_as("kmax a"):
            check_free([tmp_path / "free", occupied])


def test_files_of_others_writers_are_noted(path):
    path.write_text("by TensorFlow")
    with writing_as("kmax a"):
        note_written(path)
        check_free([path])


def test_notes_that_were_cut_off_or_are_gone_are_survived(path):
    write(path, "one")
    notes = path.parent / NOTES
    line = notes.read_text()
    notes.write_text(line + line[:10])
    write(path, "two")
    assert path.read_text() == "two"
    notes.unlink()
    with pytest.raises(OutputError):
        write(path, "three")


def test_outside_of_commands_nothing_is_noted(path):
    for text in ("one", "two"):
        write_atomically(path, text)
    assert not (path.parent / NOTES).exists()


def test_names_of_all_letters_are_noted(tmp_path):
    for name in ("a b.txt", "grün.txt", 'q"uote.txt', "line\nbreak.txt"):
        for text in ("one", "two"):
            write(tmp_path / name, text)
    assert all(json.loads(line) for line in (tmp_path / NOTES).read_text().splitlines())
