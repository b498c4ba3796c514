"""Reading of TFRecord files into decoded examples, with bad records named.

TensorFlow's own errors of a damaged file or record don't say which one it is. Here every record
carries its place, and a damaged one becomes an element that says so, which then either stops the
pipeline or is left out, counted and named.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf

from kmax_tf.data.records import decode_example
from kmax_tf.errors import UserError

# Length, two checksums: what a TFRecord file spends on a record beside its bytes.
_RECORD_OVERHEAD = 16
_TRAINING_CYCLE = 32
# Skipping gives up after so many bad records in a row, lest it search forever.
_MAX_BAD_IN_A_ROW = 1000


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How records are read.

    Attributes:
      skip_bad: bad records are left out, counted and named on stderr; else the first is an error.
      shuffle_buffer: examples mixed at a time, if shuffled.
      seed: of the shuffling; None keeps the order of files and records.
      cache: keep decoded examples in memory.
      shard: index of this pipeline, number of pipelines that share the records.
    """

    skip_bad: bool = False
    shuffle_buffer: int = 1000
    seed: int | None = None
    cache: bool = False
    shard: tuple[int, int] = (0, 1)


def find_files(patterns: Sequence[str], folder: str) -> list[str]:
    """Finds the record files of file names or globs, sorted by name.

    Args:
      patterns: file names or globs; relative ones start at the folder.
      folder: where relative patterns start.

    Raises:
      UserError: a pattern that no file matches.
    """
    if not patterns:
        raise UserError("no records are named; set 'records' of train_data or eval_data")
    files: set[str] = set()
    for pattern in patterns:
        full = os.path.join(folder, pattern)
        found = tf.io.gfile.glob(full)
        if not found:
            place = folder or os.getcwd()
            there = "exists" if tf.io.gfile.isdir(place) else "does not exist"
            raise UserError(
                f"no file matches {full} (pattern '{pattern}'; the folder {place} {there}); "
                "convert the dataset first, or set data_dir"
            )
        files.update(found)
    return sorted(files)


def read_examples(files: Sequence[str], options: ReaderOptions) -> tf.data.Dataset:
    """Reads decoded examples: once in order, or shuffled forever where a seed is given.

    Args:
      files: TFRecord files.
      options: how they are read.

    Returns:
      A dataset of decode_example's dicts. Iterating it raises InvalidArgumentError with the file
      and the number of a bad record, unless such are skipped.

    Raises:
      UserError: the files are empty.
    """
    sizes = [tf.io.gfile.stat(file).length for file in files]
    if not any(sizes):
        raise UserError(f"no records are in {files[0]} and the other {len(files) - 1} files")
    index, count = options.shard
    dataset = tf.data.Dataset.from_tensor_slices((list(files), tf.constant(sizes, tf.int64)))
    by_file = len(files) >= count
    if by_file:
        dataset = dataset.shard(count, index)
    shuffled, seed = options.seed is not None, options.seed
    cycle = 1
    if shuffled:
        cycle = min(_TRAINING_CYCLE, max(len(files) // count, 1))
        dataset = dataset.shuffle(len(files), seed)
        if not options.cache:
            dataset = dataset.repeat()
    dataset = dataset.interleave(
        _read_file, cycle_length=cycle, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if not by_file:
        dataset = dataset.shard(count, index)
    if shuffled and not options.cache:
        dataset = dataset.shuffle(options.shuffle_buffer, seed)
    dataset = dataset.interleave(
        _decode, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    dataset = _leave_out_bad(dataset) if options.skip_bad else dataset.map(_stop_at_bad)
    if options.cache:
        dataset = dataset.cache()
        if shuffled:
            dataset = dataset.shuffle(options.shuffle_buffer, seed).repeat()
    return dataset


def _read_file(file: tf.Tensor, size: tf.Tensor) -> tf.data.Dataset:
    """Returns the records of a file, as {place, problem, record}.

    Damage ends a TFRecord file's reading. It shows as bytes that no record accounts for.
    """
    records = tf.data.TFRecordDataset(file).ignore_errors()
    records = records.map(lambda record: (record, False))
    records = records.concatenate(tf.data.Dataset.from_tensors(("", True)))

    def account(
        state: tuple[tf.Tensor, tf.Tensor], element: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
        (number, offset), (record, at_end) = state, element
        place = tf.strings.join(["record ", tf.strings.as_string(number), " of ", file])
        damaged = at_end & (offset != size)
        return (
            number + 1,
            offset + tf.cast(tf.strings.length(record), tf.int64) + _RECORD_OVERHEAD,
        ), {
            "place": place,
            "problem": tf.where(damaged, "the file is truncated or damaged there", ""),
            "record": record,
            "keep": ~at_end | damaged,
        }

    zero = tf.constant(0, tf.int64)
    return records.scan((zero, zero), account).filter(lambda element: element["keep"])


def _decode(element: dict[str, tf.Tensor]) -> tf.data.Dataset:
    """Decodes a record into {place, problem, example}; what fails is a problem, not an error."""
    # A record without features is no example either, so that this covers problems known already.
    decoded = tf.data.Dataset.from_tensors(element["record"]).map(decode_example).ignore_errors()
    fine = decoded.map(lambda example: (example, ""))
    problem = tf.where(
        element["problem"] == "",
        "it is no example, or its image or label is damaged",
        element["problem"],
    )
    nothing = {
        "image": tf.zeros([0, 0, 3], tf.uint8),
        "panoptic": tf.zeros([0, 0], tf.int32),
        "image_id": "",
    }
    failed = tf.data.Dataset.from_tensors((nothing, problem))
    return (
        fine.concatenate(failed)
        .take(1)
        .map(
            lambda example, trouble: {
                "place": element["place"],
                "problem": trouble,
                "example": example,
            }
        )
    )


def _stop_at_bad(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    check = tf.debugging.Assert(
        element["problem"] == "",
        [tf.strings.join(["bad ", element["place"], ": ", element["problem"]])],
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.nest.map_structure(tf.identity, element["example"])


def _leave_out_bad(dataset: tf.data.Dataset) -> tf.data.Dataset:
    def count(
        state: tuple[tf.Tensor, tf.Tensor], element: dict[str, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]:
        skipped, in_a_row = state
        bad = element["problem"] != ""
        skipped += tf.cast(bad, tf.int64)
        in_a_row = tf.where(bad, in_a_row + 1, 0)
        tf.debugging.Assert(
            in_a_row < _MAX_BAD_IN_A_ROW,
            [
                tf.strings.join(
                    [f"{_MAX_BAD_IN_A_ROW} bad records in a row, the last: ", element["place"]]
                )
            ],
        )
        if bad:
            parts = ["skipped ", element["place"], ": ", element["problem"], " ("]
            parts += [tf.strings.as_string(skipped), " so far)"]
            # One string, since tensors among others are printed in quotes.
            tf.print(tf.strings.join(parts))
        return (skipped, in_a_row), (bad, element["example"])

    zero = tf.constant(0, tf.int64)
    counted = dataset.scan((zero, zero), count)
    return counted.filter(lambda bad, _: ~bad).map(lambda _, example: example)
