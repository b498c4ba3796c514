"""Results of many pictures in a folder: files of each, files of all, and notes of what is finished.

A picture's note is written last, with what is said of it in the files of all. So a command that
was stopped at any moment finds what is finished when it is run again, and the files of all are
whole at its end. Threads, and machines that share the folder, can write pictures at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from kmax_tf.errors import BadExampleError
from kmax_tf.export.instances import coco_instances, write_instances
from kmax_tf.export.result_files import (
    JOINED,
    SemanticIds,
    paths_of,
    write_frame,
    write_reports,
    write_result,
)
from kmax_tf.files.ownership import note_written, wrote
from kmax_tf.files.reading import is_file, read_file, version_of
from kmax_tf.files.writing import is_remote, write_atomically
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.coco_results import write_panoptic_json
from kmax_tf.panoptic.fields import ImageId
from kmax_tf.postprocessing.mask_reports import format_reports

_NOTES = ".predicted"


class Picture(NamedTuple):
    """An image file, or a frame of a video.

    Attributes:
      place: among all pictures, in their order.
      path: of the file that it is in.
      name: of its results, as a path below the folder.
      image_id: in results.
      read: returns [H, W, 3] uint8, or None behind the last frame of a video; raises
        BadExampleError.
    """

    place: tuple[int, ...]
    path: str
    name: str
    image_id: ImageId
    read: Callable[[], Optional[np.ndarray]]


class Finished(NamedTuple):
    """What was written of a picture.

    Attributes:
      place: of the picture.
      joined: what it adds to the files of all, by kind.
      before: whether an earlier run did it.
      text: for people; "" if there is nothing to say.
    """

    place: tuple[int, ...]
    joined: dict[str, Any]
    before: bool = False
    text: str = ""


def unfinished_paths(folder: str, name: str, kinds: Iterable[str]) -> list[str]:
    """Returns the files that will be written of a picture, if no earlier run noted any."""
    noted = not is_remote(folder) and os.path.exists(_note_path(folder, name))
    return [] if noted else paths_of(folder, name, kinds)


class Results:
    """The results in a folder.

    Attributes:
      folder: of them.
      semantic: how PNGs of class ids are made; None where there are none.
    """

    def __init__(self, folder: str, kinds: Sequence[str], labels: LabelSpace, made_by: str):
        """Prepares to write.

        Args:
          folder: of the results.
          kinds: of ENDINGS, what is written of each picture.
          labels: what ids mean.
          made_by: what tells this model from others: its results are not taken for this one's.

        Raises:
          UserError: PNGs have no room for the class ids.
        """
        self.folder = folder
        self._kinds, self._labels = tuple(kinds), labels
        self._made_by = [made_by, *kinds]
        self.semantic = SemanticIds(labels) if "semantic" in kinds else None

    def find(self, picture: Picture) -> Finished | None:
        """Returns what an earlier run wrote of a picture, if all of it is there as it was."""
        outcome = self.outcome(picture)
        return outcome._replace(before=True) if isinstance(outcome, Finished) else None

    def outcome(self, picture: Picture) -> Finished | BadExampleError | None:
        """Returns what the note of a picture says, if it and the results are there as they were."""
        try:
            note = json.loads(read_file(_note_path(self.folder, picture.name)))
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or note.get("of") != self._origin(picture):
            return None
        if "error" in note:
            return BadExampleError(note["error"])
        if not all(map(_is_own, self.paths(picture))):
            return None
        return Finished(picture.place, note["joined"], text=note["text"])

    def collect(self, picture: Picture) -> Finished | BadExampleError | None:
        """Returns what a worker's note says of a picture, whose files are this command's own."""
        for path in self.paths(picture):
            if is_file(path) and not is_remote(path):
                note_written(path)
        return self.outcome(picture)

    def paths(self, picture: Picture) -> list[str]:
        """Returns the files of a picture."""
        return paths_of(self.folder, picture.name, self._kinds)

    def write(
        self, picture: Picture, image: np.ndarray, prediction: Mapping[str, np.ndarray]
    ) -> Finished:
        """Writes what there is to write of a picture, and then its note.

        Args:
          picture: which.
          image: [H, W, 3] uint8.
          prediction: of `Predictor`.

        Raises:
          OutputError: a file can't be written.
        """
        folder, labels, name = self.folder, self._labels, picture.name
        joined: dict[str, Any] = {}
        text = ""
        if "panoptic" in self._kinds:
            entry = write_result(folder, name, image, prediction, labels, picture.image_id)
            joined["panoptic"] = [entry]
        if "instances" in self._kinds:
            joined["instances"] = coco_instances(prediction, labels, picture.image_id)
            path = os.path.join(folder, f"{name}_instances.json")
            write_instances(path, joined["instances"])
        if self.semantic is not None:
            self.semantic.write(folder, name, prediction["semantic"])
        if "why" in self._kinds:
            text = f"{name}\n{format_reports(write_reports(folder, name, prediction, labels))}"
        if "frame" in self._kinds:
            write_frame(folder, name, image, prediction, labels)
        return self.finish(picture, joined, text)

    def finish(self, picture: Picture, joined: dict[str, Any], text: str = "") -> Finished:
        """Notes that everything of a picture is written."""
        self._note(picture, joined=joined, text=text)
        return Finished(picture.place, joined, text=text)

    def fail(self, picture: Picture, error: BadExampleError) -> None:
        """Notes, for the machine that reads the notes of all, why a picture has no results."""
        self._note(picture, error=str(error))

    def _note(self, picture: Picture, **what: Any) -> None:
        note = json.dumps({"of": self._origin(picture), **what})
        write_atomically(_note_path(self.folder, picture.name), note, own=True)

    def join(self, finished: Sequence[Finished]) -> None:
        """Writes the files of all pictures.

        Raises:
          OutputError: a file can't be written.
        """
        in_order = sorted(finished, key=lambda one: one.place)
        for kind in JOINED.keys() & set(self._kinds):
            having = [one for one in in_order if kind in one.joined]
            listed = [entry for one in having for entry in one.joined[kind]]
            path = os.path.join(self.folder, JOINED[kind])
            if having and kind == "panoptic":
                write_panoptic_json(path, listed, self._labels)
            elif having:
                write_instances(path, listed)

    def _origin(self, picture: Picture) -> list[Any]:
        """Returns what a note must say to be of this picture and these settings."""
        path = picture.path if is_remote(picture.path) else os.path.abspath(picture.path)
        return [*self._made_by, path, version_of(path), picture.image_id]


def _note_path(folder: str, name: str) -> str:
    return os.path.join(folder, _NOTES, f"{name}.json")


def _is_own(path: str) -> bool:
    return is_file(path) and (is_remote(path) or wrote(path))
