"""Where each record of TFRecord files starts, so that any record can be read by its number.

A TFRecord file is a chain: each record is preceded by its length. Following the chain reads 12
bytes a record, and tells at once whether a file was cut off.
"""

from __future__ import annotations

import array
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.files import is_remote

# Length (8 bytes) and its checksum (4), then the record, then the record's checksum (4).
_HEADER, _FOOTER = 12, 4
# Files are on disks or networks that answer many questions at a time.
_THREADS = 32
_BUFFER = 1 << 18


class RecordIndex(NamedTuple):
    """The records of some files, 8 bytes of memory each.

    Attributes:
      files: [F] names.
      first: [F + 1] int64 number of the first record of each file; the last is the number of all.
      offsets: [N] int64 where each record starts in its file. Where a file is cut off or damaged
        its last entry is what can't be read.
    """

    files: tuple[str, ...]
    first: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)


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


def index_records(files: Sequence[str]) -> RecordIndex:
    """Finds the records of TFRecord files.

    Args:
      files: TFRecord files, not compressed.

    Raises:
      UserError: a file cannot be read, or all are empty.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        offsets = list(pool.map(_offsets, files))
    counts = [len(of_file) for of_file in offsets]
    if not any(counts):
        raise UserError(f"no records are in {files[0]} and the other {len(files) - 1} files")
    return RecordIndex(
        tuple(files), np.cumsum([0, *counts], dtype=np.int64), np.concatenate(offsets)
    )


def read_record(index: RecordIndex) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function that reads a record, for use in tf.data pipelines.

    Args:
      index: of the records.

    Returns:
      A function of a scalar int64 number of a record. It gives two strings, the record's place
      ("record 2 of FILE") and its content, which is empty where it cannot be read.
    """
    files = tf.constant(index.files)
    first, offsets = tf.constant(index.first), tf.constant(index.offsets)

    def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        file = tf.searchsorted(first, number[tf.newaxis], side="right")[0] - 1
        in_file = tf.strings.as_string(number - first[file])
        place = tf.strings.join(["record ", in_file, " of ", files[file]])
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=files[file][tf.newaxis],
            compression_type="",
            buffer_size=_BUFFER,
            byte_offsets=offsets[number][tf.newaxis],
        )
        records = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
        # An error is no reason to stop here: a record that is read as empty is a bad one.
        content = records.ignore_errors().concatenate(tf.data.Dataset.from_tensors(""))
        return place, content.take(1).get_single_element()

    return read


def _offsets(file: str) -> np.ndarray:
    """Returns [n] int64 offsets of a file's records."""
    found = array.array("q")
    try:
        size, offset = tf.io.gfile.stat(file).length, 0
        with _reader(file) as read:
            while offset < size:
                found.append(offset)
                header = read(offset)
                if len(header) < _HEADER or not any(header):  # cut off; zeros after a crash
                    break
                offset += _HEADER + int.from_bytes(header[:8], "little") + _FOOTER
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    return np.array(found, np.int64)


@contextlib.contextmanager
def _reader(file: str) -> Iterator[Callable[[int], bytes]]:
    """Yields a function that reads a header at an offset."""
    if is_remote(file):
        with tf.io.gfile.GFile(file, "rb") as stream:

            def read(offset: int) -> bytes:
                stream.seek(offset)
                return bytes(stream.read(_HEADER))

            yield read
    else:
        with open(file, "rb", buffering=0) as plain:
            yield lambda offset: os.pread(plain.fileno(), _HEADER, offset)
