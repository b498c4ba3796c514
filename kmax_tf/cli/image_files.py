"""Image files that a sub-command works through."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Union

from kmax_tf.wording import some

HELP = (
    "image files, or folders of such, of which subfolders are read, too; patterns such as "
    "'photos/*.jpg'; URLs that TensorFlow reads (gs://...)"
)


class NamedImage(NamedTuple):
    """An image file.

    Attributes:
      path: of the file.
      relative: its path below the folder that all images have in common, with "/".
      name: of its results, as a path below the output.
    """

    path: str
    relative: str
    name: str


def find_images(paths: Sequence[str], lists: Sequence[str] = ()) -> list[NamedImage]:
    """Finds the images of a command line.

    An image is known by its path below what all have in common, as in cam1/0000. Pictures of a
    folder that the command itself wrote are its results, and left out.

    Args:
      paths: of files and folders, here or remote; patterns of such.
      lists: files with one more path a line.

    Raises:
      UserError: nothing is named, a folder has no images, a pattern fits nothing, a list can't be
        read, or an image is named twice.
    """
    from kmax_tf.errors import UserError
    from kmax_tf.export.result_files import result_names
    from kmax_tf.files.writing import is_remote
    from kmax_tf.panoptic.coco_json import repeated

    named = [*paths, *(line for path in lists for line in _lines(path))]
    files: list[str] = []
    folders: list[str] = []
    for path in (match for pattern in named for match in _matches(pattern)):
        inside = _images_in(path) if _is_folder(path) else None
        folders.append(os.path.dirname(path) if inside is None else path)
        files += [path] if inside is None else inside
    if not files:
        raise UserError("no image is named: give files, folders or patterns, or a --list of them")
    absolute = [file if is_remote(file) else os.path.abspath(file) for file in files]
    for twice in repeated(absolute)[:1]:
        raise UserError(f"the image {files[absolute.index(twice)]} is named twice")
    relative = _below_common(absolute, folders)
    return [NamedImage(*image) for image in zip(files, relative, result_names(relative))]


def _lines(path: str) -> list[str]:
    """Returns the lines of a list that aren't empty."""
    from kmax_tf.errors import UserError
    from kmax_tf.files.reading import read_file
    from kmax_tf.files.writing import decode_text

    try:
        lines = decode_text(read_file(path)).split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the list {path}: {reason}") from error
    return [line.strip() for line in lines if line.strip()]


def _matches(pattern: str) -> list[str]:
    """Returns what a pattern fits, as a shell would put it in its place; a path fits itself."""
    import glob

    from kmax_tf.errors import UserError
    from kmax_tf.files.reading import is_file
    from kmax_tf.files.writing import is_remote

    if not glob.has_magic(pattern) or is_file(pattern) or _is_folder(pattern):
        return [pattern]
    if is_remote(pattern):
        import tensorflow as tf

        found = tf.io.gfile.glob(pattern)
    else:
        found = glob.glob(pattern, recursive=True)
    if not found:
        raise UserError(f"nothing fits {pattern}")
    return sorted(found)


def _is_folder(path: str) -> bool:
    from kmax_tf.files.images import IMAGE_SUFFIXES
    from kmax_tf.files.reading import is_folder
    from kmax_tf.files.writing import is_remote

    # Of remote files only their names are looked at: asking takes a while.
    is_image = is_remote(path) and path.lower().endswith(IMAGE_SUFFIXES)
    return not is_image and is_folder(path)


def _below_common(paths: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Returns absolute paths, with "/", below the folder that all folders have in common."""
    import itertools
    import pathlib

    from kmax_tf.files.writing import is_remote

    if not any(map(is_remote, folders)):
        root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
        return [pathlib.Path(os.path.relpath(path, root)).as_posix() for path in paths]
    parts = [
        (folder if is_remote(folder) else os.path.abspath(folder)).rstrip("/").split("/")
        for folder in folders
    ]
    shared = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts))
    root = "/".join(level[0] for level in shared)
    return [path[len(root) :].replace("://", "/").lstrip("/") for path in paths]


def _images_in(folder: str) -> list[str]:
    """Returns the images in a folder and its subfolders, but for hidden ones and own results."""
    from kmax_tf.errors import UserError
    from kmax_tf.files.images import IMAGE_SUFFIXES
    from kmax_tf.files.ownership import wrote
    from kmax_tf.files.reading import is_file

    found = [
        path
        for path in _files_in(folder)
        if path.lower().endswith(IMAGE_SUFFIXES) and not os.path.basename(path).startswith(".")
    ]
    images = [path for path in sorted(found) if is_file(path) and not wrote(path)]
    if not images:
        raise UserError(
            f"the folder {folder} has no images: no file ends in {', '.join(IMAGE_SUFFIXES)}"
        )
    return images


def _files_in(folder: str) -> Iterator[str]:
    """Yields the files in a folder and its subfolders, but for hidden ones."""
    from kmax_tf.errors import UserError
    from kmax_tf.files.writing import is_remote

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    if not is_remote(folder):
        for root, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (os.path.join(root, name) for name in names)
        return
    import tensorflow as tf

    for root, _, names in tf.io.gfile.walk(folder):
        below = root[len(folder) :].split("/")
        if not any(part.startswith(".") for part in below):
            yield from (os.path.join(root, name) for name in names)


def check_outputs(outputs: Sequence[str], images: Sequence[NamedImage]) -> None:
    """Checks that results replace nothing but earlier results of the command, and no image ever.

    Raises:
      OutputError: names the first file that is in the way.
    """
    from kmax_tf.errors import OutputError
    from kmax_tf.files.ownership import check_free

    inputs = {os.path.realpath(image.path) for image in images}
    for path in outputs:
        if os.path.realpath(path) in inputs:
            raise OutputError(
                f"{path} is there already: it is the image itself, which its result would replace; "
                "give another --output"
            )
    check_free(outputs)


def image_ids(images: Sequence[NamedImage], annotations: str | None) -> list[Union[int, str]]:
    """Returns the ids by which annotations know images.

    Args:
      images: of the command line.
      annotations: JSON whose list `images` has them, under the file names that it gives; None: an
        image whose name is all digits has that number, another one its name.

    Raises:
      UserError: the JSON is broken, or doesn't have an image.
    """
    import collections

    from kmax_tf.errors import UserError
    from kmax_tf.panoptic.coco_json import read_image_names
    from kmax_tf.panoptic.fields import as_number

    if annotations is None:
        return [as_number(image.name) for image in images]
    names = read_image_names(annotations)
    keys = [(key, image_id) for image_id, name in names.items() for key in _keys(name)]
    counts = collections.Counter(key for key, _ in keys)
    known = {key: image_id for key, image_id in keys if counts[key] == 1}
    ids: list[Union[int, str]] = []
    for image in images:
        found = next((known[key] for key in _keys(image.relative) if key in known), None)
        if found is None:
            raise UserError(
                f"{annotations} lists no image of the file name {image.relative}, or several in "
                f"other folders; its images are {some(names.values())}"
            )
        ids.append(found)
    return ids


def _keys(name: str) -> tuple[tuple[int, str], ...]:
    """Returns what an image is known by: its path, that without the ending, its name alone."""
    from kmax_tf.files.reading import name_key

    path = name_key(name)
    stem = os.path.splitext(path)[0]
    return (0, path), (1, stem), (2, os.path.basename(stem))
