"""Where each record of TFRecord files starts, so that any record can be read by its number.

A TFRecord file is a chain: each record is preceded by its length. Following the chain reads 12
bytes a record, and tells at once whether a file was cut off.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.files.reading import is_file
from kmax_tf.files.writing import escaped, is_remote
from kmax_tf.wording import count_of

# Length (8 bytes) and its checksum (4), then the record, then the record's checksum (4).
_HEADER, _FOOTER = 12, 4
# Files are on disks or networks that answer many questions at a time.
_THREADS = 32
_BUFFER = 1 << 18
# Offsets are kept in TFRecord files, too, so many a record: TensorFlow reads those at any place.
_BLOCK = 128
_BLOCK_RECORD = np.dtype(
    [("header", f"V{_HEADER}"), ("offsets", np.int64, _BLOCK), ("footer", f"V{_FOOTER}")]
)


class RecordIndex(NamedTuple):
    """The records of some files.

    Where each starts in its file takes 8 bytes, in files or in memory. Where a file is cut off or
    damaged, its last record is what can't be read.

    Attributes:
      files: [F] names.
      first: [F + 1] int64 number of the first record of each file; the last is the number of all.
      offsets_files: [F] names of TFRecord files of the offsets, int64 in blocks.
      offsets: [N] int64 of all files; None: they are to be read from their files.
    """

    files: tuple[str, ...]
    first: np.ndarray
    offsets_files: tuple[str, ...]
    offsets: Optional[np.ndarray]

    def __len__(self) -> int:
        return int(self.first[-1])


def find_files(patterns: Sequence[str], folder: str) -> list[str]:
    """Finds the record files of file names or globs, sorted by name.

    Args:
      patterns: file names or globs; relative ones start at the folder. A file that has a pattern
        as its name is what it means.
      folder: where relative patterns start; its name is no pattern.

    Raises:
      UserError: a pattern that no file matches.
    """
    if not patterns:
        raise UserError("no records are named; set 'records' of train_data or eval_data")
    files: set[str] = set()
    for pattern in patterns:
        full = os.path.join(folder, pattern)
        in_folder = os.path.join(escaped(folder), pattern)
        found = [full] if is_file(full) else tf.io.gfile.glob(in_folder)
        if not found:
            place = folder or os.getcwd()
            there = "exists" if tf.io.gfile.isdir(place) else "does not exist"
            raise UserError(
                f"no file matches {full} (pattern '{pattern}'; the folder {place} {there}); "
                "convert the dataset first, or set data_dir"
            )
        files.update(found)
    return sorted(files)


def index_records(files: Sequence[str], in_memory: bool = False) -> RecordIndex:
    """Finds the records of TFRecord files.

    Args:
      files: TFRecord files, not compressed.
      in_memory: keeps the index in memory, and so in datasets that other machines read; else in
        temporary files of this process, so that many records need no more memory than few.

    Raises:
      UserError: a file cannot be read, or all are empty.
    """
    folder = tempfile.mkdtemp(dir=_temporary_folder().name)
    offsets_files = tuple(os.path.join(folder, str(i)) for i in range(len(files)))
    with ThreadPoolExecutor(_THREADS) as pool:
        counts = list(pool.map(_write_offsets, files, offsets_files))
    if not any(counts):
        others = f" and {count_of(len(files) - 1, 'other file')}" if len(files) > 1 else ""
        raise UserError(f"there is no record in {files[0]}{others}")
    offsets = None
    if in_memory:
        blocks = [np.fromfile(name, _BLOCK_RECORD)["offsets"] for name in offsets_files]
        parts = [block.ravel()[:count] for block, count in zip(blocks, counts)]
        offsets = np.concatenate(parts)
    first = np.cumsum([0, *counts], dtype=np.int64)
    return RecordIndex(tuple(files), first, offsets_files, offsets)


def read_record(index: RecordIndex) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function that reads a record, for use in tf.data pipelines.

    Returns:
      A function of a scalar int64 number of a record. It gives two strings, the record's place
      ("record 2 of FILE") and its content, which is empty where it cannot be read.
    """
    files, offsets_files = tf.constant(index.files), tf.constant(index.offsets_files)
    first = tf.constant(index.first)
    offsets = None if index.offsets is None else tf.constant(index.offsets)

    def find(number: tf.Tensor, file: tf.Tensor) -> tf.Tensor:
        if offsets is not None:
            return offsets[number]
        in_file = number - first[file]
        block = in_file // _BLOCK * _BLOCK_RECORD.itemsize
        content = _record_at(offsets_files[file], block, _BLOCK_RECORD.itemsize)
        return tf.io.decode_raw(content.get_single_element(), tf.int64)[in_file % _BLOCK]

    def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        file = tf.searchsorted(first, number[tf.newaxis], side="right")[0] - 1
        in_file = tf.strings.as_string(number - first[file])
        place = tf.strings.join(["record ", in_file, " of ", files[file]])
        content = _record_at(files[file], find(number, file), _BUFFER)
        # An error is no reason to stop here: a record that is read as empty is a bad one.
        content = content.ignore_errors().concatenate(tf.data.Dataset.from_tensors(""))
        return place, content.take(1).get_single_element()

    return read


def _record_at(file: tf.Tensor, offset: tf.Tensor, buffer_size: int) -> tf.data.Dataset:
    """Returns a dataset of the one record that starts at an offset of a TFRecord file."""
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=file[tf.newaxis],
        compression_type="",
        buffer_size=buffer_size,
        byte_offsets=offset[tf.newaxis],
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory:
    """Makes a folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="kmax_index_")


def _write_offsets(file: str, path: str) -> int:
    """Writes the offsets of a file's records to another; returns how many they are."""
    count, block = 0, np.zeros(_BLOCK, np.int64)
    try:
        with tf.io.TFRecordWriter(path) as out:
            for offset, _ in walk_records(file):
                block[count % _BLOCK] = offset
                count += 1
                if count % _BLOCK == 0:
                    out.write(block.tobytes())
            if count % _BLOCK:
                out.write(block.tobytes())
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"cannot index {file}: {error}") from error
    return count


def walk_records(file: str) -> Iterator[tuple[int, bool]]:
    """Follows the chain of a file's records by their lengths.

    Yields:
      Where each record starts, and whether it ends in the file. The first that doesn't is the last:
      the file is cut off, or damaged, so that its length may be anything.

    Raises:
      OSError or tf.errors.OpError: the file can't be read.
    """
    size, offset = tf.io.gfile.stat(file).length, 0
    # Unbuffered: of each record only the header is read.
    with tf.io.gfile.GFile(file, "rb") if is_remote(file) else open(file, "rb", 0) as stream:
        while offset < size:
            stream.seek(offset)
            header = stream.read(_HEADER)
            is_one = len(header) == _HEADER and any(header)  # zeros are what a crash leaves
            length = int.from_bytes(header[:8], "little") if is_one else size
            end = offset + _HEADER + length + _FOOTER
            yield offset, end <= size
            offset = end
