"""Writing of files that are either whole or not there.

Paths may be local or of any file system that TensorFlow knows (`gs://...`).
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import tempfile
import uuid
from typing import Union

from kmax_tf.errors import OutputError
from kmax_tf.files.ownership import check_free, note_written

PathLike = Union[str, "os.PathLike[str]"]

_MAGIC = re.compile(r"([*?\[\\])")
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def write_atomically(path: PathLike, data: bytes | str, own: bool = False) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    A reader, or a crash at any moment, sees the old file or the new one, never half of one. Missing
    parent folders are made.

    Args:
      path: where the file goes.
      data: its content; text is written as UTF-8.
      own: whether a file that is there is the caller's for sure, so that no notes are needed.

    Raises:
      OutputError: the folder cannot be written, the disk is full, ...; nothing is left behind. Or
        another file is there, which the command that runs didn't write (`ownership`).
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    if not own and not _holds(path, content):
        check_free([path])
    try:
        if is_remote(path):
            _write_remote(os.fspath(path), content)
        else:
            _write_local(pathlib.Path(path), content, own)
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {_reason(error)}") from error


def check_writable(folder: PathLike) -> None:
    """Makes a folder where it isn't there yet and proves that files can be written in it.

    Meant for the start of a long job, so that it doesn't fail at its end.

    Raises:
      OutputError: it is a file, cannot be made, or cannot be written.
    """
    probe = os.path.join(os.fspath(folder), f".writable-{os.getpid()}")
    try:
        if is_remote(folder):
            _write_remote(probe, b"probe")
            _remove_remote(probe)
        else:
            _write_local(pathlib.Path(probe), b"probe")
            os.unlink(probe)
    except OSError as error:
        raise OutputError(
            f"cannot write into the folder {os.fspath(folder)}: {_reason(error)}"
        ) from error


def escaped(path: PathLike) -> str:
    """Returns a path as a part of a pattern (tf.io.gfile.glob): only the file of this name fits."""
    return _MAGIC.sub(r"\\\1", os.fspath(path))


def plain_path(path: PathLike) -> str:
    """Returns a path of the same folder or checkpoint that has nothing of a pattern in it.

    TensorFlow's readers of checkpoints and of SavedModels take a path as a pattern, and don't find
    run[1]. So they get links, which go with this process.

    Args:
      path: of a folder, or the prefix of a checkpoint; a remote one, which can't be linked, stays
        as it is.
    """
    path = os.fspath(path)
    if is_remote(path) or not _MAGIC.search(path):
        return path
    folder, name = (path, "") if os.path.isdir(path) else os.path.split(path)
    folder = os.path.abspath(folder)
    if _MAGIC.search(name):  # of a checkpoint, which is several files
        links = os.path.join(_links().name, _digest(os.path.join(folder, name)))
        os.makedirs(links, exist_ok=True)
        for file in os.listdir(folder) if os.path.isdir(folder) else ():
            if file.startswith(f"{name}."):
                _link(os.path.join(folder, file), f"{links}/files{file[len(name) :]}")
        return f"{links}/files"
    link = os.path.join(_links().name, _digest(folder))
    _link(folder, link)
    return os.path.join(link, name)


def _digest(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _link(path: str, link: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.symlink(path, link)


@functools.cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kmax_links_")


def decode_text(data: bytes) -> str:
    """Returns the text of a file in UTF-8, with or without a byte order mark, its line ends plain.

    Raises:
      ValueError: it is of another encoding, in a sentence.
    """
    # The longer marks first, since those of UTF-32 start like those of UTF-16.
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it is {name}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is no UTF-8 (byte {error.start} is {data[error.start]:#x}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError("it has zero bytes, so it is no text, or UTF-16; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _holds(path: PathLike, content: bytes) -> bool:
    """Returns whether a local file is what would be written."""
    file = pathlib.Path(path)
    try:
        same: bool = file.stat().st_size == len(content) and file.read_bytes() == content
    except OSError:
        return False
    return same


def is_remote(path: PathLike) -> bool:
    """Returns whether a path belongs to a remote file system (`scheme://...`)."""
    return "://" in os.fspath(path)


def _write_local(path: pathlib.Path, content: bytes, own: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not own:  # before it is there: a crash leaves a note too many, not one too few
            note_written(path, content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_remote(path: str, content: bytes) -> None:
    # Object stores show a file only once it is closed, so no second name is needed.
    import tensorflow as tf

    def write() -> None:
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(content)

    try:
        try:
            write()
        except tf.errors.NotFoundError:  # of file systems that have folders
            tf.io.gfile.makedirs(os.path.dirname(path))
            write()
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _remove_remote(path: str) -> None:
    import tensorflow as tf

    try:
        tf.io.gfile.remove(path)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _reason(error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        path = pathlib.Path(error.filename)
        file = next((part for part in (path, *path.parents) if part.is_file()), path)
        return f"{file} is a file, not a folder"
    return error.strerror or str(error)
