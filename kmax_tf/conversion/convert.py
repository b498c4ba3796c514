"""Conversion of a split to sharded TFRecords: parallel, restartable, deterministic, with a report.

A folder of records holds SPLIT-00000-of-00016.tfrecord ..., SPLIT.sha256 (checksums of these, as
sha256sum writes and checks them), dataset.textproto (what the ids mean, and how many examples there
are) and report.json (what each split holds, and what was refused).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow as tf

from kmax_tf.conversion.shards import (
    ImageAnnotation,
    ShardReport,
    ShardTask,
    convert_shard,
    note_path,
    read_note,
)
from kmax_tf.errors import UserError
from kmax_tf.files.progress import Progress
from kmax_tf.files.reading import names_in
from kmax_tf.files.workers import available_cores, run_tasks
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.labels import LabelSpace
from kmax_tf.records.examples import shard_name, split_of
from kmax_tf.records.report import read_report
from kmax_tf.records.statistics import Statistics

# COCO's 118287 training images make about 1000 shards, as in the reference's records.
IMAGES_PER_SHARD = 128

# Makes all shards and returns their reports in order.
Runner = Callable[[Sequence[ShardTask], Progress], Iterable[ShardReport]]


@dataclasses.dataclass(frozen=True)
class ConversionOptions:
    """How annotations become records.

    Attributes:
      treat_crowd_as_ignore: crowd regions become unlabeled; else they keep their class, with
        instance 0.
      strict: the first bad example is an error; else bad examples are left out and reported.
      num_shards: 0 makes one of about IMAGES_PER_SHARD images.
      workers: processes at most; 0 is one a core.
      runner: makes the shards in place of processes of this machine.
    """

    treat_crowd_as_ignore: bool = True
    strict: bool = False
    num_shards: int = 0
    workers: int = 0
    runner: Runner | None = None


@dataclasses.dataclass
class Report:
    """What a conversion did.

    Attributes:
      statistics: of the examples written.
      refused: name and reason of each example left out.
      kept: number of shards that an earlier run had finished.
      shards: number of shards.
      checksum: SHA-256 of SPLIT.sha256.
      digests: name of each image by the digest of its file.
    """

    statistics: Statistics = dataclasses.field(default_factory=Statistics)
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    kept: int = 0
    shards: int = 0
    checksum: str = ""
    digests: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """Returns the number of examples written."""
        return self.statistics.images

    @property
    def segments(self) -> dict[str, int]:
        """Returns the number of segments of each class name that has any."""
        return {name: counted.segments for name, counted in self.statistics.classes.items()}


def convert(
    annotations: Sequence[ImageAnnotation],
    output: str | os.PathLike[str],
    split: str,
    labels: LabelSpace,
    options: ConversionOptions = ConversionOptions(),
    already_refused: Sequence[tuple[str, str]] = (),
) -> Report:
    """Writes the records of a split.

    Shards that an earlier, interrupted run finished are kept if they would become the same again.
    The records don't depend on the number of processes.

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
    if not annotations or min(options.num_shards, options.workers) < 0:
        what = "a negative number of shards or workers" if annotations else "no usable annotation"
        reason = f"; the first: {': '.join(already_refused[0])}" if already_refused else ""
        raise UserError(f"the split {split} has {what}; nothing was written{reason}")
    check_writable(output)
    tasks = _tasks(annotations, os.fspath(output), split, labels, options)
    _make_room(os.fspath(output), split, tasks)
    progress = Progress(len(annotations), f"convert {split}")
    total = Report(refused=list(already_refused), shards=len(tasks))
    sums = ""
    for report, task in zip(_run(tasks, options, progress), tasks):
        total.statistics.add(report.statistics)
        total.refused += report.refused
        total.kept += report.kept
        total.digests.update(report.digests)
        sums += f"{report.checksum}  {task.name}\n"
    write_atomically(os.path.join(output, f"{split}.sha256"), sums)
    total.checksum = hashlib.sha256(sums.encode("ascii")).hexdigest()
    _write_report(os.fspath(output), split, total, labels)
    if not total.images:
        first, reason = total.refused[0]
        if len(total.refused) == 1:
            raise UserError(f"the only example of {split}, {first}, was refused, because: {reason}")
        raise UserError(
            f"all {len(total.refused)} examples of {split} were refused, the first, {first}, "
            f"because: {reason}"
        )
    return total


def find_equal_images(reports: Mapping[str, Report]) -> dict[str, list[tuple[str, str, str]]]:
    """Finds images whose files are, byte by byte, in an earlier split, too.

    Returns:
      By split: the name of each such image, the earlier split, and its name there.
    """
    first: dict[str, tuple[str, str]] = {}
    equal: dict[str, list[tuple[str, str, str]]] = {}
    for split, report in reports.items():
        for digest, name in report.digests.items():
            other, there = first.setdefault(digest, (split, name))
            if other != split:
                equal.setdefault(split, []).append((name, other, there))
    return equal


def note_equal_images(
    output: str | os.PathLike[str], equal: Mapping[str, Sequence[tuple[str, str, str]]]
) -> None:
    """Adds what find_equal_images found to report.json."""
    content = read_report(output)
    for split, images in equal.items():
        content[split]["equal_images"] = [
            {"name": name, "split": other, "other": there} for name, other, there in images
        ]
    write_atomically(os.path.join(output, "report.json"), json.dumps(content, indent=2) + "\n")


def _tasks(
    annotations: Sequence[ImageAnnotation],
    output: str,
    split: str,
    labels: LabelSpace,
    options: ConversionOptions,
) -> list[ShardTask]:
    count = options.num_shards or -(-len(annotations) // IMAGES_PER_SHARD)
    count = min(count, len(annotations))
    # Nearly equal, contiguous parts.
    bounds = [len(annotations) * index // count for index in range(count + 1)]
    return [
        ShardTask(
            os.path.join(output, shard_name(split, index, count)),
            tuple(annotations[first:end]),
            labels,
            options.treat_crowd_as_ignore,
            options.strict,
        )
        for index, (first, end) in enumerate(zip(bounds, bounds[1:]))
    ]


def _run(
    tasks: Sequence[ShardTask], options: ConversionOptions, progress: Progress
) -> Iterable[ShardReport]:
    if options.runner is not None:
        return options.runner(tasks, progress)
    return run_tasks(convert_shard, tasks, options.workers or available_cores(), progress)


def _make_room(output: str, split: str, tasks: Sequence[ShardTask]) -> None:
    """Removes what a killed run left, and shards of an earlier conversion into another number.

    Raises:
      UserError: shards without a note are in the way: they may be anything.
    """
    wanted = {task.name for task in tasks}
    # By name, not by a pattern: "train" has nothing to do with shards of "train-extra".
    ours = sorted({name for name in names_in(output) if split_of(name) == split} - wanted)
    partial = [os.path.join(output, name) for name in ours if name.startswith(".")]
    others = [os.path.join(output, name) for name in ours if not name.startswith(".")]
    for path in others:
        if not read_note(path):
            raise UserError(
                f"{path} would be read together with the new shards of {split}; remove it or "
                "choose another folder"
            )
    for path in others:
        tf.io.gfile.remove(path)
        tf.io.gfile.remove(note_path(path))
    for path in partial:
        tf.io.gfile.remove(path)


def _write_report(output: str, split: str, report: Report, labels: LabelSpace) -> None:
    """Adds a split to report.json."""
    content = read_report(output)
    statistics = report.statistics.to_json()
    # Every class, in the network's order, so that absent ones are seen.
    classes = {
        category.name: statistics["classes"].get(category.name, {"segments": 0})
        for category in labels.classes
    }
    content[split] = {
        **statistics,
        "classes": classes,
        "shards": report.shards,
        "checksum": report.checksum,
        "refused": [{"name": name, "reason": reason} for name, reason in report.refused],
    }
    write_atomically(os.path.join(output, "report.json"), json.dumps(content, indent=2) + "\n")
