"""TFRecord examples in the layout of the reference implementation, so that records interchange.

Features: image/encoded, image/filename, image/format, image/height, image/width, image/channels,
image/segmentation/class/encoded and .../format. The panoptic label is "raw": int32, little-endian,
row by row. Records of test splits have none.

image/filename is what the image is known by: its path below the images' folder without its ending
(`image_names`). image/source_id, which is ours, is the id that the annotation file gives the image,
as JSON, so that results can be handed back under it: 9 or "aachen_000000_000019". Records without
it, as all of the reference's, are read as well.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
import re
import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from kmax_tf.errors import OutputError
from kmax_tf.files.decoding import decode_record_image
from kmax_tf.files.images import EncodedImage
from kmax_tf.files.writing import escaped
from kmax_tf.panoptic.fields import ImageId

_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.tfrecord", re.DOTALL)
_PARTIAL = re.compile(r"\.(?P<shard>.+)\.[0-9a-f]+\.partial", re.DOTALL)
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "image/source_id": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/segmentation/class/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/segmentation/class/format": tf.io.FixedLenFeature([], tf.string, default_value="raw"),
}


@dataclasses.dataclass(frozen=True)
class LabeledImage:
    """An image with its panoptic label, ready for a record.

    Attributes:
      name: what the image is known by in its split (`image_names`).
      image: the encoded image.
      panoptic: [H, W] int32 panoptic ids (class id * label_divisor + instance); None where the
        publisher keeps the labels, as of test splits.
      areas: pixels of each segment by class id, crowds not counted.
      source_id: what the annotation file calls the image; None where there is no such file.
      counts: what making the label did, such as pixels where masks overlap, by what a report calls
        it.
      refused: name and reason of the parts of the annotation that were left out.
    """

    name: str
    image: EncodedImage
    panoptic: np.ndarray | None
    areas: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    source_id: ImageId | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()


def image_names(paths: Sequence[str]) -> list[str]:
    """Returns what images are known by: their paths without the ending, as in cam1/0000.

    Images that this would call the same keep their endings, such as a.jpg and a.png.

    Args:
      paths: of different images, below one folder, with "/".
    """
    full = [pathlib.PurePosixPath(path) for path in paths]
    names = [path.with_suffix("").as_posix() for path in full]
    while len(set(names)) < len(names):
        counts = collections.Counter(names)
        names = [path.as_posix() if counts[name] > 1 else name for path, name in zip(full, names)]
    return names


def source_id_of(text: bytes | str) -> ImageId | None:
    """Returns the id in a record's image/source_id; None where it is empty.

    What is no JSON of a whole number or a string is itself the id, as other tools write it.
    """
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text or None
    return value if isinstance(value, str) or type(value) is int else text


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the file name of a shard, such as train-00003-of-00016.tfrecord."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def parse_shard_name(name: str) -> tuple[str, int, int] | None:
    """Returns split, index and count of a file name that shard_name gives; None for another."""
    match = _SHARD.fullmatch(name)
    return (match["split"], int(match["index"]), int(match["count"])) if match else None


def split_of(name: str) -> str:
    """Returns the split of a shard, or of what a killed run left of one; "" for another file."""
    partial = _PARTIAL.fullmatch(name)
    shard = parse_shard_name(partial["shard"] if partial else name)
    return shard[0] if shard else ""


def shard_pattern(split: str) -> str:
    """Returns a pattern of all shards of a split, and of no split that starts with its name."""
    return f"{escaped(split)}-?????-of-?????.tfrecord"


def encode_example(example: LabeledImage) -> bytes:
    """Returns a serialized tf.train.Example."""

    def of_bytes(*values: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def of_int(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    image = example.image
    features = {
        "image/encoded": of_bytes(image.data),
        "image/filename": of_bytes(example.name.encode("utf-8")),
        "image/format": of_bytes(image.format.encode("ascii")),
        "image/height": of_int(image.height),
        "image/width": of_int(image.width),
        "image/channels": of_int(3),
    }
    if example.source_id is not None:
        features["image/source_id"] = of_bytes(json.dumps(example.source_id).encode("ascii"))
    if example.panoptic is not None:
        label = np.ascontiguousarray(example.panoptic, dtype="<i4").tobytes()
        features["image/segmentation/class/encoded"] = of_bytes(label)
        features["image/segmentation/class/format"] = of_bytes(b"raw")
    record = tf.train.Example(features=tf.train.Features(feature=features))
    # Deterministic, since shards have checksums: a map has no order of its own.
    return record.SerializeToString(deterministic=True)


def decode_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes a record, a tf.train.Example as a scalar string, in a tf.data pipeline or eagerly.

    Returns:
      image: [H, W, 3] uint8.
      panoptic: [H, W] int32.
      image_id: scalar string, what the image is known by.
      source_id: scalar string, what the annotation file calls it (`source_id_of`).

    Raises:
      tf.errors.InvalidArgumentError: not such an example, a corrupt image, a label that is not raw
        or of another size than its image.
    """
    features = tf.io.parse_single_example(serialized, _FEATURES)
    image = decode_record_image(features["image/encoded"])
    size = tf.stack([features["image/height"], features["image/width"]])
    label = features["image/segmentation/class/encoded"]
    checks = [
        tf.debugging.assert_equal(
            features["image/segmentation/class/format"], "raw", "only raw panoptic labels are read"
        ),
        tf.debugging.assert_equal(
            tf.shape(image, tf.int64)[:2], size, "the image has not the size that its record says"
        ),
        tf.debugging.assert_equal(
            tf.cast(tf.strings.length(label), tf.int64),
            4 * tf.reduce_prod(size),
            "the panoptic label has another size than its image",
        ),
    ]
    with tf.control_dependencies(checks):
        flat = tf.io.decode_raw(label, tf.int32, little_endian=True)
    panoptic = tf.reshape(flat, size)  # [H, W]
    return {
        "image": image,
        "panoptic": panoptic,
        "image_id": features["image/filename"],
        "source_id": features["image/source_id"],
    }


def write_shard(path: str | os.PathLike[str], examples: Iterable[bytes]) -> int:
    """Writes serialized examples to a TFRecord file that appears only when it is complete.

    Returns:
      The size of the file in bytes.

    Raises:
      OutputError: the disk is full, the folder cannot be written, ...; nothing is left behind.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    partial = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        with tf.io.TFRecordWriter(partial) as writer:
            for example in examples:
                writer.write(example)
        size = tf.io.gfile.stat(partial).length
        tf.io.gfile.rename(partial, path, overwrite=True)
        return size
    except tf.errors.OpError as error:
        raise OutputError(f"cannot write {path}: {error.message}") from error
    finally:
        if tf.io.gfile.exists(partial):
            tf.io.gfile.remove(partial)
