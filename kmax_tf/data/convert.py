"""Conversion of a dataset to sharded TFRecords: restartable, with a report of what was refused.

A folder of records holds SPLIT-00000-of-00016.tfrecord ..., dataset.textproto (what the ids mean)
and report.json (images, segments per class and refused examples of each split).
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from kmax_tf.data.images import BadExampleError
from kmax_tf.data.progress import Progress
from kmax_tf.data.records import LabeledImage, encode_example, shard_name, write_shard
from kmax_tf.errors import UserError
from kmax_tf.files import check_writable, write_atomically
from kmax_tf.structures import LabelSpace

# COCO's 118287 training images make about 1000 shards, as in the reference's records.
IMAGES_PER_SHARD = 128
# Raised whenever the same files would give other records: finished shards are then made again.
_FORMAT_VERSION = 1


class Annotation(Protocol):
    """An annotated image of any format, not read yet."""

    @property
    def name(self) -> str:
        """Name of the example."""

    @property
    def files(self) -> Sequence[pathlib.Path]:
        """Files that the example is made of."""

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool) -> LabeledImage:
        """Reads and checks it; raises BadExampleError."""


@dataclasses.dataclass(frozen=True)
class ConversionOptions:
    """How annotations become records.

    Attributes:
      treat_crowd_as_ignore: crowd regions become unlabeled; else they keep their class, with
        instance 0.
      strict: the first bad example is an error; else bad examples are left out and reported.
      num_shards: 0 makes one of about IMAGES_PER_SHARD images.
    """

    treat_crowd_as_ignore: bool = True
    strict: bool = False
    num_shards: int = 0


@dataclasses.dataclass
class Report:
    """What a conversion did.

    Attributes:
      images: number of examples written.
      segments: number of segments of each class name.
      refused: name and reason of each example left out.
      kept: number of shards that an earlier run had finished.
    """

    images: int = 0
    segments: dict[str, int] = dataclasses.field(default_factory=dict)
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    kept: int = 0


def convert(
    annotations: Sequence[Annotation],
    output: str | os.PathLike[str],
    split: str,
    labels: LabelSpace,
    options: ConversionOptions = ConversionOptions(),
    already_refused: Sequence[tuple[str, str]] = (),
) -> Report:
    """Writes the records of a split.

    Shards that an earlier, interrupted run finished are kept if they would become the same again.

    Args:
      annotations: the examples, in the order of the records.
      output: folder of the records.
      split: first part of the shards' names.
      labels: meaning of the ids.
      options: how annotations become records.
      already_refused: examples that the annotation file itself spoils.

    Raises:
      UserError: a bad example (strict), no usable example at all, or shards of another conversion
        in the way.
      OutputError: the output cannot be written.
    """
    if options.strict and already_refused:
        raise UserError(": ".join(already_refused[0]))
    if not annotations or options.num_shards < 0:
        what = "a negative number of shards" if annotations else "no usable annotation"
        raise UserError(f"the split {split} has {what}; nothing was written")
    check_writable(output)
    root = pathlib.Path(output)
    count = options.num_shards or -(-len(annotations) // IMAGES_PER_SHARD)
    count = min(count, len(annotations))
    shards = [shard_name(split, index, count) for index in range(count)]
    manifest = _Manifest(root, split)
    manifest.discard_others(shards)
    total = Report(refused=list(already_refused))
    progress = Progress(len(annotations), f"convert {split}")
    # Nearly equal, contiguous parts.
    bounds = [len(annotations) * index // count for index in range(count + 1)]
    for shard, first, end in zip(shards, bounds, bounds[1:]):
        part = annotations[first:end]
        fingerprint = _fingerprint(part, labels, options)
        report = manifest.finished(shard, fingerprint)
        if report is None:
            report = _convert_shard(part, root / shard, labels, options, progress)
            manifest.add(shard, fingerprint, report)
        else:
            total.kept += 1
            progress.advance(len(part))
        _add(total, report)
    _write_report(root, split, total, labels)
    if not total.images:
        raise UserError(
            f"all {len(total.refused)} examples of {split} were refused, the first, "
            f"{total.refused[0][0]}, because: {total.refused[0][1]}"
        )
    return total


def _convert_shard(
    annotations: Sequence[Annotation],
    path: pathlib.Path,
    labels: LabelSpace,
    options: ConversionOptions,
    progress: Progress,
) -> Report:
    names = {category.id: category.name for category in labels.classes}
    segments: dict[str, int] = collections.Counter()
    report = Report()

    def serialized() -> Iterator[bytes]:
        for annotation in annotations:
            progress.advance()
            try:
                example = annotation.load(labels, options.treat_crowd_as_ignore)
            except BadExampleError as error:
                if options.strict:
                    raise
                report.refused.append((annotation.name, str(error)))
                continue
            report.images += 1
            for class_id, number in example.segments.items():
                segments[names[class_id]] += number
            yield encode_example(example)

    write_shard(path, serialized())
    report.segments = dict(segments)
    return report


class _Manifest:
    """Which shards of a split are finished, and from what they were made: a file beside them."""

    def __init__(self, root: pathlib.Path, split: str):
        self._root = root
        self._split = split
        self._path = root / f".{split}-shards.json"
        self._shards: dict[str, dict[str, Any]] = {}
        try:
            content = json.loads(self._path.read_text("utf-8"))
            self._shards = {name: dict(entry) for name, entry in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            # Missing or unreadable: everything is converted again.
            pass

    def discard_others(self, shards: Sequence[str]) -> None:
        """Removes shards of an earlier conversion into another number of shards.

        Raises:
          UserError: shards that no manifest claims are in the way: they may be anything.
        """
        for path in sorted(self._root.glob(f"{self._split}-*-of-*.tfrecord")):
            if path.name in shards:
                continue
            if path.name not in self._shards:
                raise UserError(
                    f"{path} would be read together with the new shards of {self._split}; remove "
                    "it or choose another folder"
                )
            path.unlink()
            del self._shards[path.name]

    def finished(self, shard: str, fingerprint: str) -> Report | None:
        """Returns the report of a shard that needs no new conversion, else None."""
        entry = self._shards.get(shard, {})
        path = self._root / shard
        if entry.get("fingerprint") != fingerprint or not path.is_file():
            return None
        if path.stat().st_size != entry["bytes"]:
            return None
        return Report(
            entry["images"], entry["segments"], [tuple(pair) for pair in entry["refused"]]
        )

    def add(self, shard: str, fingerprint: str, report: Report) -> None:
        """Notes a finished shard."""
        self._shards[shard] = {
            "fingerprint": fingerprint,
            "bytes": (self._root / shard).stat().st_size,
            "images": report.images,
            "segments": report.segments,
            "refused": report.refused,
        }
        write_atomically(self._path, json.dumps(self._shards))


def _fingerprint(
    annotations: Sequence[Annotation], labels: LabelSpace, options: ConversionOptions
) -> str:
    """Returns a digest of all that decides a shard's content; of files, size and time of change."""
    digest = hashlib.sha256(
        repr((_FORMAT_VERSION, labels, options.treat_crowd_as_ignore)).encode("utf-8")
    )
    for annotation in annotations:
        digest.update(repr(annotation).encode("utf-8"))
        for file in annotation.files:
            try:
                status = file.stat()
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode("ascii"))
            except OSError:
                digest.update(b"missing")
    return digest.hexdigest()


def _add(total: Report, report: Report) -> None:
    total.images += report.images
    total.refused.extend(report.refused)
    for name, number in report.segments.items():
        total.segments[name] = total.segments.get(name, 0) + number


def _write_report(root: pathlib.Path, split: str, report: Report, labels: LabelSpace) -> None:
    """Adds a split to report.json."""
    path = root / "report.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        content = {}
    content[split] = {
        "images": report.images,
        # Every class, in the network's order, so that absent ones are seen.
        "segments": {
            category.name: report.segments.get(category.name, 0) for category in labels.classes
        },
        "refused": [{"name": name, "reason": reason} for name, reason in report.refused],
    }
    write_atomically(path, json.dumps(content, indent=2) + "\n")
