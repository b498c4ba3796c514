import errno
import os
import stat

import pytest

from kmax_tf.errors import OutputError
from kmax_tf.files import writing


def test_writes_text_and_bytes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    writing.write_atomically(path, "é")
    assert path.read_bytes() == b"\xc3\xa9"
    writing.write_atomically(str(path), b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert os.listdir(path.parent) == ["a.txt"]


TEXT = 'name: "é"\n# mine\n'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_has_a_mark_or_not_and_any_ends_of_lines(end, mark):
    assert writing.decode_text(mark + TEXT.replace("\n", end).encode()) == TEXT


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "it is UTF-16; save it as UTF-8"),
        ("utf-32", "it is UTF-32; save it as UTF-8"),
        ("utf-16-le", "no UTF-8|zero bytes"),
        ("utf-16-be", "no UTF-8|zero bytes"),
        ("latin-1", "no UTF-8 .byte 7 is 0xe9"),
    ],
)
def test_text_of_other_encodings_is_told(encoding, words):
    with pytest.raises(ValueError, match=words):
        writing.decode_text(TEXT.encode(encoding))


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    writing.write_atomically(tmp_path / "atomic", "")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    writing.write_atomically(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^cannot write .*a\.txt: No space left on device$"):
        writing.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writing.write_atomically(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(OutputError, match=r"/file is a file, not a folder"):
            writing.write_atomically(tmp_path / folder / "a.txt", "")
        with pytest.raises(OutputError, match=r"^cannot write into the folder .*not a folder"):
            writing.check_writable(tmp_path / folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        writing.check_writable(tmp_path)


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path):
    writing.check_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []


def test_remote_paths_go_through_tensorflow(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = f"ram://{tmp_path.name}/a.txt"
    writing.write_atomically(path, "text")
    with tf.io.gfile.GFile(path) as file:
        assert file.read() == "text"
    writing.check_writable(f"ram://{tmp_path.name}")
    assert tf.io.gfile.listdir(f"ram://{tmp_path.name}") == ["a.txt"]
    with pytest.raises(OutputError, match="nowhere"):
        writing.write_atomically("nowhere://x/a.txt", "")
