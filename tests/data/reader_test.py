import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.data.images import EncodedImage
from kmax_tf.data.reader import ReaderOptions, find_files, read_examples
from kmax_tf.data.records import LabeledImage, encode_example, write_shard
from kmax_tf.errors import UserError

PNG = tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()


def record(name, png=PNG):
    label = np.full((4, 4), 7, np.int32)
    return encode_example(LabeledImage(name, EncodedImage(png, "png", 4, 4), label, {}))


@pytest.fixture
def files(tmp_path):
    """Three files of five records, named a0 .. a4, b0 .. and c0 .. ."""
    for letter in "abc":
        names = [f"{letter}{number}" for number in range(5)]
        write_shard(tmp_path / f"{letter}.tfrecord", [record(name) for name in names])
    return [str(tmp_path / f"{letter}.tfrecord") for letter in "abc"]


ALL = [f"{letter}{number}" for letter in "abc" for number in range(5)]


def names(dataset, count=None):
    return [example["image_id"].numpy().decode() for example in itertools.islice(dataset, count)]


def read(files, count=None, **options):
    return names(read_examples(files, ReaderOptions(**options)), count)


def damage(path, number):
    """Changes a byte of a record, so that its checksum fails."""
    with open(path, "r+b") as file:
        for _ in range(number):
            (length,) = struct.unpack("<Q", file.read(8))
            file.seek(length + 8, 1)
        file.seek(20, 1)
        file.write(b"\xff\xff")


def test_records_are_read_once_in_order(files):
    assert read(files) == ALL
    assert read(files, cache=True) == ALL


@pytest.mark.parametrize("cache", [False, True])
def test_shuffling_is_endless_and_reproducible_from_the_seed(files, cache):
    options = {"seed": 3, "shuffle_buffer": 15, "cache": cache}
    first = read(files, 60, **options)
    assert first == read(files, 60, **options)
    assert first != read(files, 60, **{**options, "seed": 4})
    counts = {name: first.count(name) for name in ALL}
    assert min(counts.values()) >= 1
    if cache:
        epochs = [first[i : i + 15] for i in range(0, 60, 15)]
        assert all(sorted(epoch) == ALL for epoch in epochs)
        assert epochs[0] != epochs[1]


@pytest.mark.parametrize("pipelines", [2, 3, 5])
def test_pipelines_share_the_records(files, pipelines):
    parts = [read(files, shard=(index, pipelines)) for index in range(pipelines)]
    assert sorted(itertools.chain(*parts)) == ALL
    assert all(parts)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_damaged_record_stops_with_its_place(files, seed):
    damage(files[1], 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 2 of .*b\.tfrecord.*damaged"):
        read(files, 100, seed=seed)


@pytest.mark.parametrize("left", [-1, -100, 40, 5])
def test_a_truncated_file_stops_with_its_place(files, left):
    with open(files[0], "rb") as file:
        data = file.read()
    with open(files[0], "wb") as file:
        file.write(data[:left])
    number = 4 if left < 0 else 0
    words = rf"record {number} of .*a\.tfrecord.*truncated"
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        read(files)


@pytest.mark.parametrize(
    "bad",
    [b"garbage", b"", record("x", png=PNG[:30]), record("x", png=b"no image")],
    ids=["no-example", "empty", "cut-image", "no-image"],  # a map has no fixed order of bytes
)
def test_a_bad_example_stops_with_its_place_or_is_skipped(tmp_path, capfd, bad):
    path = str(tmp_path / "d.tfrecord")
    write_shard(path, [record("d0"), record("d1"), bad, record("d3"), bad])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 2 of .*d\.tfrecord"):
        read([path])
    assert read([path], skip_bad=True) == ["d0", "d1", "d3"]
    log = capfd.readouterr().err
    assert f"record 2 of {path}" in log
    assert f"record 4 of {path}" in log
    assert "2 so far" in log


def test_what_a_damaged_file_still_gives_is_read_when_skipping(files, capfd):
    damage(files[1], 2)
    assert read(files, skip_bad=True) == [*ALL[:7], *ALL[10:]]
    assert f"skipped record 2 of {files[1]}" in capfd.readouterr().err
    assert set(read(files, 60, skip_bad=True, seed=0)) == {*ALL[:7], *ALL[10:]}


def test_skipping_everything_ends(tmp_path):
    path = str(tmp_path / "d.tfrecord")
    write_shard(path, [b"garbage"] * 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad records in a row"):
        read([path], 1, skip_bad=True, seed=0)


def test_empty_files_are_refused(tmp_path):
    path = tmp_path / "e.tfrecord"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no records .*e\.tfrecord"):
        read([str(path)])


def test_files_are_found_by_globs_in_the_folder(files, tmp_path):
    assert find_files(["*.tfrecord"], str(tmp_path)) == files
    assert find_files(["c.tfrecord", "[ab].tfrecord", files[0]], str(tmp_path)) == files


def test_missing_files_are_named_with_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"train-\*\.tfrecord.*does not exist"):
        find_files(["train-*.tfrecord"], str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"train-\*\.tfrecord.*exists"):
        find_files(["train-*.tfrecord"], str(tmp_path))
    with pytest.raises(UserError, match="no records are named"):
        find_files([], str(tmp_path))
