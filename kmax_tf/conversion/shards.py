"""A shard: from annotated images to a file of records, made once.

Beside each shard lies a hidden note, ".SHARD.json": from what it was made, what is in it, its
checksum. A shard whose note still holds is kept by the next run. Shards know nothing of each other,
so they can be made in any order, in parallel, and on different machines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import tensorflow as tf

from kmax_tf.errors import BadExampleError, OutputError
from kmax_tf.files.ownership import check_free
from kmax_tf.files.reading import version_of
from kmax_tf.files.writing import write_atomically
from kmax_tf.labels import LabelSpace
from kmax_tf.records.examples import LabeledImage, encode_example, write_shard
from kmax_tf.records.report import read_object
from kmax_tf.records.statistics import Statistics

# Raised whenever the same files would give other records: finished shards are then made again.
_FORMAT_VERSION = 4
_CHUNK = 2**20
_DIGEST = 16  # digits, of an image's file


class ImageAnnotation(Protocol):
    """An annotated image of any format, not read yet. It can be pickled."""

    @property
    def name(self) -> str:
        """Name of the example."""

    @property
    def files(self) -> Sequence[str]:
        """Files that the example is made of."""

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool) -> LabeledImage:
        """Reads and checks it; raises BadExampleError."""


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """What a shard is made of.

    Attributes:
      path: of the shard.
      annotations: its examples, in order.
      labels: meaning of the ids.
      treat_crowd_as_ignore: crowd regions become unlabeled; else they keep their class.
      strict: the first bad example is an error; else bad ones are left out.
    """

    path: str
    annotations: Sequence[ImageAnnotation]
    labels: LabelSpace
    treat_crowd_as_ignore: bool
    strict: bool

    @property
    def name(self) -> str:
        """Returns the shard's file name."""
        return os.path.basename(self.path)


@dataclasses.dataclass
class ShardReport:
    """What became of it.

    Attributes:
      statistics: of its examples.
      refused: name and reason of each example, or part of one, left out.
      size: of the file, in bytes.
      checksum: SHA-256 of the file, in hexadecimal digits.
      digests: name of each image by the digest of its file.
      kept: whether an earlier run had finished it.
    """

    statistics: Statistics
    refused: list[tuple[str, str]]
    size: int
    checksum: str
    digests: dict[str, str]
    kept: bool = False


def convert_shard(task: ShardTask, advance: Callable[[], None]) -> ShardReport:
    """Writes a shard, unless an earlier run wrote the same; calls `advance` before each example.

    Raises:
      BadExampleError: the first bad example, if strict.
      OutputError: the shard cannot be written, or something else has its name.
    """
    fingerprint = _fingerprint(task)
    report = _kept(task, fingerprint)
    if report is not None:
        for _ in task.annotations:
            advance()
        return report
    if not read_note(task.path):  # so no conversion wrote what is there
        check_free([task.path])
    statistics = Statistics()
    refused: list[tuple[str, str]] = []
    digests: dict[str, str] = {}

    def serialized() -> Iterator[bytes]:
        for annotation in task.annotations:
            advance()
            try:
                example = annotation.load(task.labels, task.treat_crowd_as_ignore)
            except BadExampleError as error:
                if task.strict:
                    raise
                refused.append((annotation.name, str(error)))
                continue
            if task.strict and example.refused:
                raise BadExampleError(": ".join(example.refused[0]))
            refused.extend(example.refused)
            image = example.image
            digests[hashlib.sha256(image.data).hexdigest()[:_DIGEST]] = example.name
            labeled = example.panoptic is not None
            statistics.add_image(image.height, image.width, example.areas, task.labels, labeled)
            statistics.add_counts(example.counts)
            yield encode_example(example)

    size = write_shard(task.path, serialized())
    report = ShardReport(statistics, refused, size, file_checksum(task.path), digests)
    note = {**dataclasses.asdict(report), "fingerprint": fingerprint}
    write_atomically(note_path(task.path), json.dumps(note), own=True)
    return report


def note_path(shard: str) -> str:
    """Returns the path of a shard's note."""
    folder, name = os.path.split(shard)
    return os.path.join(folder, f".{name}.json")


def read_note(shard: str) -> dict[str, Any]:
    """Returns the note of a shard; empty where there is none that can be read."""
    return read_object(note_path(shard))


def report_of(note: dict[str, Any]) -> ShardReport | None:
    """Returns the report in a note; None where it isn't whole."""
    try:
        return ShardReport(
            Statistics.from_json(note["statistics"]),
            [(name, reason) for name, reason in note["refused"]],
            note["size"],
            note["checksum"],
            dict(note["digests"]),
            kept=True,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def file_checksum(path: str) -> str:
    """Returns the SHA-256 of a file, as sha256sum prints it.

    Raises:
      OutputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except tf.errors.OpError as error:
        raise OutputError(f"cannot read {path}: {error.message}") from error
    return digest.hexdigest()


def _kept(task: ShardTask, fingerprint: str) -> ShardReport | None:
    note = read_note(task.path)
    if note.get("fingerprint") != fingerprint:
        return None
    try:
        size = tf.io.gfile.stat(task.path).length
    except tf.errors.OpError:
        return None
    return report_of(note) if size == note.get("size") else None


def _fingerprint(task: ShardTask) -> str:
    """Returns a digest of all that decides a shard's content; of files, size and time of change."""
    digest = hashlib.sha256(
        repr((_FORMAT_VERSION, task.labels, task.treat_crowd_as_ignore)).encode("utf-8")
    )
    for annotation in task.annotations:
        digest.update(repr(annotation).encode("utf-8", "backslashreplace"))
        for file in annotation.files:
            digest.update(version_of(file).encode("ascii"))
    return digest.hexdigest()
