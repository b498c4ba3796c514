import dataclasses
import os
import resource

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kmax_tf.errors import OutputError
from kmax_tf.files.images import EncodedImage
from kmax_tf.records.examples import (
    LabeledImage,
    decode_example,
    encode_example,
    image_names,
    source_id_of,
    write_shard,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
LABEL = RNG.integers(0, 256 * 134, (5, 7), dtype=np.int32)


def example(label=LABEL, height=5):
    png = tf.io.encode_png(IMAGE).numpy()
    return LabeledImage("000001", EncodedImage(png, "png", height, 7), label, {})


def test_an_example_survives_the_round_trip():
    record = encode_example(example())
    eager = decode_example(tf.constant(record))
    (piped,) = tf.data.Dataset.from_tensors(record).map(decode_example)
    for decoded in (eager, piped):
        np.testing.assert_array_equal(decoded["image"], IMAGE)
        np.testing.assert_array_equal(decoded["panoptic"], LABEL)
        assert decoded["image_id"].numpy() == b"000001"


@pytest.mark.parametrize("source_id", [None, 0, -1, 2**63 - 1, "1", "é", "aachen_000000_000019"])
def test_the_id_of_the_annotation_file_is_kept_with_its_type(source_id):
    record = encode_example(dataclasses.replace(example(), source_id=source_id))
    found = source_id_of(decode_example(tf.constant(record))["source_id"].numpy())
    assert (found, type(found)) == (source_id, type(source_id))


PARTS = st.sampled_from(["a", "b", "a.b", "é", "[1]", "a.jpg"])
PATHS = st.builds(
    lambda folders, stem, ending: "/".join([*folders, f"{stem}{ending}"]),
    st.lists(PARTS, max_size=2),
    PARTS,
    st.sampled_from(["", ".jpg", ".png", ".jpg.png", ".PNG"]),
)


@given(st.lists(PATHS, max_size=12, unique=True))
def test_images_are_known_by_their_paths_without_the_ending_where_that_is_enough(paths):
    names = image_names(paths)
    assert len(set(names)) == len(names)
    short = [os.path.splitext(path)[0] for path in paths]
    for name, path, stem in zip(names, paths, short):
        assert name in (stem, path)
        alone = short.count(stem) == 1 and stem not in paths
        assert name == stem if alone else True


@pytest.mark.parametrize("text", ["img_1", "1.5", "[1]", "true", "{", '"'])
def test_ids_that_other_tools_wrote_are_names(text):
    assert source_id_of(text) == text


@pytest.mark.parametrize("label", [LABEL[:4], LABEL[:, :6], np.zeros((0, 0), np.int32)])
def test_a_label_of_another_size_is_an_error(label):
    with pytest.raises(tf.errors.InvalidArgumentError, match="panoptic label has another size"):
        decode_example(tf.constant(encode_example(example(label))))


def test_an_image_of_another_size_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="the image has not the size"):
        decode_example(tf.constant(encode_example(example(height=4))))


def test_a_shard_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.tfrecord"

    def interrupted():
        yield b"first"
        assert not path.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, interrupted())
    assert list(tmp_path.iterdir()) == []
    size = write_shard(path, [b"first", b"second"])
    assert path.stat().st_size == size
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    assert list(records) == [b"first", b"second"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.tfrecord"
    # A limit on the size of files stands for a disk without space.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*a\.tfrecord"):
            write_shard(path, [bytes(100_000)] * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="absent"):
        write_shard(tmp_path / "absent" / "a.tfrecord", [b"first"])


def test_records_of_the_reference_are_read():
    """Its features in their order, as its builders write them; built here without our encoder."""
    values = {
        "image/encoded": tf.io.encode_png(IMAGE).numpy(),
        "image/filename": b"000000000009",
        "image/format": b"png",
        "image/height": 5,
        "image/width": 7,
        "image/channels": 3,
        "image/segmentation/class/encoded": LABEL.tobytes(),
        "image/segmentation/class/format": b"raw",
    }
    features = {}
    for key, value in values.items():
        features[key] = (
            tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
            if isinstance(value, int)
            else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        )
    record = tf.train.Example(features=tf.train.Features(feature=features))
    decoded = decode_example(tf.constant(record.SerializeToString()))
    np.testing.assert_array_equal(decoded["image"], IMAGE)
    np.testing.assert_array_equal(decoded["panoptic"], LABEL)
    assert decoded["image_id"].numpy() == b"000000000009"
    image = EncodedImage(values["image/encoded"], "png", 5, 7)
    ours = encode_example(LabeledImage("000000000009", image, LABEL))
    assert tf.train.Example.FromString(ours) == record


def test_a_record_without_label_has_six_features():
    record = encode_example(LabeledImage("a", example().image, None))
    assert len(tf.train.Example.FromString(record).features.feature) == 6
