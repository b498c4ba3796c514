"""Image files that a sub-command works through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    import numpy as np

from kmax_tf.wording import count_of

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
    from kmax_tf.export.results import result_names
    from kmax_tf.files.images import IMAGE_SUFFIXES
    from kmax_tf.files.ownership import wrote

    files: list[str] = []
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths]
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        found = [
            str(file)
            for file in sorted(pathlib.Path(path).rglob("*"))
            if file.name.lower().endswith(IMAGE_SUFFIXES)
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and not wrote(file)
        ]
        if not found:
            raise UserError(
                f"the folder {path} has no images: no file ends in {', '.join(IMAGE_SUFFIXES)}"
            )
        files += found
    absolute = [os.path.abspath(file) for file in files]
    twice = next((file for file in files if absolute.count(os.path.abspath(file)) > 1), None)
    if twice is not None:
        raise UserError(f"the image {twice} is named twice")
    root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    relative = [pathlib.Path(os.path.relpath(file, root)).as_posix() for file in absolute]
    return [NamedImage(*image) for image in zip(files, relative, result_names(relative))]


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
    import os

    from kmax_tf.errors import UserError
    from kmax_tf.panoptic.coco_json import read_image_names
    from kmax_tf.panoptic.fields import as_number

    if annotations is None:
        return [as_number(image.name) for image in images]
    names = read_image_names(annotations)
    by_path = {os.path.splitext(name)[0]: image_id for image_id, name in names.items()}
    stems = [os.path.basename(path) for path in by_path]
    by_stem = {stem: i for stem, i in zip(stems, by_path.values()) if stems.count(stem) == 1}
    ids: list[Union[int, str]] = []
    for image in images:
        path = os.path.splitext(image.relative)[0]
        found = by_path.get(path, by_stem.get(os.path.basename(path)))
        if found is None:
            raise UserError(
                f"{annotations} lists no image of the file name {image.relative}, or several in "
                "other folders; its images are "
                f"{', '.join(list(names.values())[:3])}, ..."
            )
        ids.append(found)
    return ids


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
        from kmax_tf.errors import error_line
        from kmax_tf.files.images import BadExampleError, read_image

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
