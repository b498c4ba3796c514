"""Image files that a sub-command works through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    import numpy as np

from kmax_tf.wording import count_of, some

# Failures named in the last line.
_MOST_NAMED = 5
HELP = "image files, or folders of such, of which subfolders are read, too"


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


def find_images(paths: Sequence[str]) -> list[NamedImage]:
    """Finds the images of a command line.

    An image is known by its path below what all have in common, as in cam1/0000. Pictures of a
    folder that the command itself wrote are its results, and left out.

    Args:
      paths: of files and folders.

    Raises:
      UserError: a folder has no images, or an image is named twice.
    """
    import os
    import pathlib

    from kmax_tf.errors import UserError
    from kmax_tf.export.result_files import result_names
    from kmax_tf.panoptic.coco_json import repeated

    files: list[str] = []
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths]
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        files += _images_in(path)
    absolute = [os.path.abspath(file) for file in files]
    for twice in repeated(absolute)[:1]:
        raise UserError(f"the image {files[absolute.index(twice)]} is named twice")
    root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    relative = [pathlib.Path(os.path.relpath(file, root)).as_posix() for file in absolute]
    return [NamedImage(*image) for image in zip(files, relative, result_names(relative))]


def _images_in(folder: str) -> list[str]:
    """Returns the images in a folder and its subfolders, but for hidden ones and own results."""
    import os
    import pathlib

    from kmax_tf.errors import UserError
    from kmax_tf.files.images import IMAGE_SUFFIXES
    from kmax_tf.files.ownership import wrote

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    found = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        found += [pathlib.Path(root, name) for name in pictures if not name.startswith(".")]
    images = [str(file) for file in sorted(found) if file.is_file() and not wrote(file)]
    if not images:
        raise UserError(
            f"the folder {folder} has no images: no file ends in {', '.join(IMAGE_SUFFIXES)}"
        )
    return images


def check_outputs(outputs: Sequence[str], images: Sequence[NamedImage]) -> None:
    """Checks that results replace nothing but earlier results of the command, and no image ever.

    Raises:
      OutputError: names the first file that is in the way.
    """
    import os

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
    import os

    from kmax_tf.files.reading import name_key

    path = name_key(name)
    stem = os.path.splitext(path)[0]
    return (0, path), (1, stem), (2, os.path.basename(stem))


class ImagesInTurn:
    """The images of a command line, read one after another.

    One that cannot be read is told at once, and the others go on.
    """

    def __init__(self, images: Sequence[NamedImage], command: str):
        """Starts the clock.

        Args:
          images: of the command line.
          command: whose progress is shown.
        """
        from kmax_tf.files.progress import Progress

        self._images = images
        self._failed: list[str] = []
        self._progress = Progress(len(images), command)

    def __iter__(self) -> Iterator[tuple[NamedImage, np.ndarray]]:
        """Yields each image that can be read with its pixels [H, W, 3] uint8."""
        from kmax_tf.errors import BadExampleError, error_line
        from kmax_tf.files.images import read_image

        for image in self._images:
            try:
                pixels = read_image(image.path)
            except BadExampleError as error:
                self._progress.say(error_line("kmax", error))
                self._failed.append(image.path)
                continue
            yield image, pixels
            self._progress.advance()

    def end(self, results: str) -> int:
        """Says in the last line how it went, and returns the exit status: 1 where images failed.

        Args:
          results: where the results are, where there are any.
        """
        if len(self._failed) < len(self._images):
            print(results, flush=True)
        if not self._failed:
            return 0
        named = ", ".join(self._failed[:_MOST_NAMED])
        if len(self._failed) > _MOST_NAMED:
            named += f" and {len(self._failed) - _MOST_NAMED} more"
        total = count_of(len(self._images), "image")
        self._progress.say(
            f"kmax: error: {len(self._failed)} of {total} could not be read: {named}"
        )
        return 1
