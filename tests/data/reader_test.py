import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.data.reader import read_forever, read_once
from kmax_tf.files.images import EncodedImage
from kmax_tf.records.examples import LabeledImage, encode_example, write_shard
from kmax_tf.records.index import index_records
from tests.options import reader_options
from tests.processes import run_python

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


def read(files, **options):
    return names(read_once(index_records(files), reader_options(**options)))


def train(files, count, streams=1, **options):
    """Returns the names of the first examples of training, a tuple each if there are streams."""
    dataset = read_forever(index_records(files), reader_options(**options), streams)
    found = [
        tuple(example["image_id"].numpy().decode() for example in examples)
        for _, examples in itertools.islice(dataset, count)
    ]
    return found if streams > 1 else [name for (name,) in found]


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
    assert read(files, cache="") == ALL


def test_training_permutes_all_records_in_each_epoch(files):
    found = train(files, 75, seed=3)
    epochs = [found[i : i + 15] for i in range(0, 75, 15)]
    assert all(sorted(epoch) == ALL for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert found == train(files, 75, seed=3)
    assert found != train(files, 75, seed=4)


def test_orders_are_as_mixed_as_they_can_be(files):
    """Over epochs every place sees nearly all records, and neighbours aren't neighbours again."""
    found = train(files, 15 * 60)
    places = np.array([ALL.index(name) for name in found]).reshape(60, 15)
    for place in range(15):
        assert len(set(places[:, place])) >= 13
    steps = np.diff(places, axis=1) % 15
    assert np.bincount(steps.ravel(), minlength=15)[1:].max() < 3 * steps.size / 14


@pytest.mark.parametrize(("first", "cache"), [(4, None), (37, None), (17, "")])
def test_training_goes_on_where_it_stopped(files, first, cache):
    options = {"seed": 3, "shuffle_buffer": 15, "cache": cache}
    whole = train(files, 60, 2, **options)
    assert train(files, 60 - first, 2, first=first, **options) == whole[first:]


def test_the_second_stream_has_an_order_of_its_own(files):
    both = train(files, 30, 2, seed=3)
    assert [first for first, _ in both] == train(files, 30, seed=3)
    seconds = [second for _, second in both]
    assert sorted(seconds[:15]) == ALL
    assert seconds != [first for first, _ in both]


def test_numbers_count_over_all_pipelines(files):
    options = reader_options(shard=(1, 3), first=6)
    dataset = read_forever(index_records(files), options)
    assert [int(number) for number, _ in itertools.islice(dataset, 3)] == [7, 10, 13]


@pytest.mark.parametrize(("pipelines", "cache"), [(2, None), (5, "")])
def test_pipelines_share_the_records(files, pipelines, cache):
    parts = [read(files, shard=(index, pipelines), cache=cache) for index in range(pipelines)]
    assert sorted(itertools.chain(*parts)) == ALL
    assert all(parts)
    if cache is None:
        parts = [train(files, 15, shard=(index, pipelines)) for index in range(pipelines)]
        # Together they are one pipeline's examples, in its order.
        assert list(itertools.chain(*zip(*parts))) == train(files, 15 * pipelines)


def test_a_cache_file_outlives_the_records(files, tmp_path):
    options = {"cache": str(tmp_path / "cache"), "shuffle_buffer": 15}
    first = train(files, 30, **options)
    assert sorted(first[:15]) == ALL
    for file in files:
        damage(file, 0)
    assert train(files, 30, **options) == first


def test_a_single_record_is_every_example(tmp_path):
    path = str(tmp_path / "one.tfrecord")
    write_shard(path, [record("one")])
    assert train([path], 3, 2) == [("one", "one")] * 3


def test_a_damaged_record_stops_with_its_place(files):
    damage(files[1], 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 2 of .*b\.tfrecord.*damaged"):
        read(files)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 2 of .*b\.tfrecord.*damaged"):
        train(files, 100)


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
    assert read([path], on_bad_record="SKIP") == ["d0", "d1", "d3"]
    log = capfd.readouterr().err
    assert f"skipped record 2 of {path}" in log
    assert f"skipped record 4 of {path}" in log
    assert "(2 so far)" in log


def test_a_bad_record_is_replaced_in_training(files, capfd):
    whole = train(files, 30)
    damage(files[1], 2)
    damage(files[1], 3)
    assert train(files, 30, on_bad_record="SKIP") == [
        "b4" if name in ("b2", "b3") else name for name in whole
    ]
    log = capfd.readouterr().err
    for number in (2, 3):
        assert f"skipped record {number} of {files[1]}" in log
    assert "(6 so far)" in log  # b2 leads to b3, twice each
    assert read(files, on_bad_record="SKIP") == [name for name in ALL if name not in ("b2", "b3")]
    cached = train(files, 26, on_bad_record="SKIP", cache="", shuffle_buffer=15)
    assert {*cached} == {*ALL} - {"b2", "b3"}


def test_skipping_everything_ends(tmp_path):
    path = str(tmp_path / "d.tfrecord")
    write_shard(path, [b"garbage"] * 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match="50 bad records in a row, the last"):
        train([path], 1, on_bad_record="SKIP")


def test_a_service_prepares_every_example_once(files):
    done = run_python("-m", "tests.data.service_client", "numbers", *files)
    numbers = [int(number) for number in done.stdout.split()]
    assert len(set(numbers)) == len(numbers) == 60
    assert max(numbers) < 200
