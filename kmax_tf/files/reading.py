"""Reading of files and folders that may be local or of any file system TensorFlow knows (gs://).

TensorFlow is imported for remote ones only: processes that read local files start in no time.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import unicodedata

from kmax_tf.errors import UserError
from kmax_tf.files.writing import PathLike, is_remote

# A record holds less than 2 GB, half of which is the label's at most.
_MAX_BYTES = 2**30


def read_file(path: PathLike) -> bytes:
    """Reads a file; raises OSError with a reason."""
    if not is_remote(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "it is a folder")
        # A pipe or device would block or never end.
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        _check_size(status.st_size)
        with open(path, "rb") as file:
            return file.read()
    import tensorflow as tf

    try:
        _check_size(tf.io.gfile.stat(path).length)
        with tf.io.gfile.GFile(os.fspath(path), "rb") as file:
            content: bytes = file.read()
            return content
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def list_folder(path: PathLike) -> list[str]:
    """Returns the sorted names in a folder, hidden ones left out; none where there is no folder.

    Raises:
      UserError: it can't be read, or has a name that isn't UTF-8, so that no record or report
        could hold it.
    """
    names = sorted(name for name in names_in(path) if not name.startswith("."))
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise UserError(
                f"the folder {path} has the name {name!r}, which isn't UTF-8; change it"
            )
    return names


def names_in(path: PathLike) -> list[str]:
    """Returns all names in a folder, in no order; none where there is no folder.

    Raises:
      UserError: there is one that can't be read.
    """
    if not is_remote(path):
        try:
            return os.listdir(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return []
        except OSError as error:
            raise UserError(f"cannot read the folder {path}: {error.strerror or error}") from error
    import tensorflow as tf

    try:
        # Remote file systems end the names of folders with a slash.
        return [name.rstrip("/") for name in tf.io.gfile.listdir(os.fspath(path))]
    except tf.errors.OpError:
        return []


def is_file(path: PathLike) -> bool:
    """Returns whether there is such a file."""
    if not is_remote(path):
        return os.path.isfile(path)
    import tensorflow as tf

    there: bool = tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)
    return there


def is_folder(path: PathLike) -> bool:
    """Returns whether there is such a folder."""
    if not is_remote(path):
        return os.path.isdir(path)
    import tensorflow as tf

    there: bool = tf.io.gfile.isdir(path)
    return there


def name_key(name: str) -> str:
    """Returns what all spellings of a file's name have in common.

    Accents are composed, as macOS takes them apart, and the ending is in lower case.
    """
    stem, ending = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + ending.lower()


def as_spelt(path: PathLike) -> str:
    """Returns a path as it is spelt where it is, which may be otherwise than it was given.

    Args:
      path: as a list of files, or the name of another file, has it.

    Returns:
      The path itself where it is there, or where nothing, or more than one, has its name_key.
    """
    path = os.fspath(path)
    if is_file(path) or is_folder(path):
        return path
    folder, name = os.path.split(path)
    if not name or is_remote(path) != is_remote(folder):  # a root, or a bucket
        return path
    folder = as_spelt(folder) if folder else ""
    found = _names_by_key(folder or ".", version_of(folder or ".")).get(name_key(name), [])
    return os.path.join(folder, found[0] if len(found) == 1 else name)


@functools.lru_cache(maxsize=16)
def _names_by_key(folder: str, version: str) -> dict[str, list[str]]:
    """Returns the names in a folder, and nothing older than its version."""
    del version
    names: dict[str, list[str]] = {}
    for name in names_in(folder):
        names.setdefault(name_key(name), []).append(name)
    return names


def version_of(path: PathLike) -> str:
    """Returns what changes when a file does: its size and its time of change; "" if missing."""
    if not is_remote(path):
        try:
            local = os.stat(path)
        except (OSError, ValueError):
            return ""
        return f"{local.st_size} {local.st_mtime_ns}"
    import tensorflow as tf

    try:
        remote = tf.io.gfile.stat(path)
    except tf.errors.OpError:
        return ""
    return f"{remote.length} {remote.mtime_nsec}"


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has {size} bytes, more than {_MAX_BYTES}")
