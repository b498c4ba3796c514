"""TFRecord examples in the layout of the reference implementation, so that records interchange.

Features: image/encoded, image/filename (without extension), image/format, image/height,
image/width, image/channels, image/segmentation/class/encoded and .../format. The panoptic label is
"raw": int32, little-endian, row by row. Records of test splits have none.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from kmax_tf.data.decoding import decode_record_image
from kmax_tf.data.images import EncodedImage
from kmax_tf.errors import OutputError

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/segmentation/class/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/segmentation/class/format": tf.io.FixedLenFeature([], tf.string, default_value="raw"),
}


@dataclasses.dataclass(frozen=True)
class LabeledImage:
    """An image with its panoptic label, ready for a record.

    Attributes:
      name: file name of the image without extension.
      image: the encoded image.
      panoptic: [H, W] int32 panoptic ids (class id * label_divisor + instance); None where the
        publisher keeps the labels, as of test splits.
      areas: pixels of each segment by class id, crowds not counted.
    """

    name: str
    image: EncodedImage
    panoptic: np.ndarray | None
    areas: dict[int, list[int]] = dataclasses.field(default_factory=dict)


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the file name of a shard, such as train-00003-of-00016.tfrecord."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


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
    if example.panoptic is not None:
        label = np.ascontiguousarray(example.panoptic, dtype="<i4").tobytes()
        features["image/segmentation/class/encoded"] = of_bytes(label)
        features["image/segmentation/class/format"] = of_bytes(b"raw")
    record = tf.train.Example(features=tf.train.Features(feature=features))
    # Deterministic, since shards have checksums: a map has no order of its own.
    return record.SerializeToString(deterministic=True)


def decode_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes a record, inside a tf.data pipeline or eagerly.

    Args:
      serialized: scalar string, a tf.train.Example.

    Returns:
      image: [H, W, 3] uint8.
      panoptic: [H, W] int32.
      image_id: scalar string, the image's file name without extension.

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
    with tf.control_dependencies([check for check in checks if check is not None]):
        flat = tf.io.decode_raw(label, tf.int32, little_endian=True)
    panoptic = tf.reshape(flat, size)  # [H, W]
    return {"image": image, "panoptic": panoptic, "image_id": features["image/filename"]}


def write_shard(path: str | os.PathLike[str], examples: Iterable[bytes]) -> int:
    """Writes serialized examples to a TFRecord file that appears only when it is complete.

    Args:
      path: of the shard; its folder exists.
      examples: serialized examples.

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
