import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.errors import UserError
from kmax_tf.records.index import find_files, index_records, read_record
from tests.processes import run_python
from tests.strange_names import STRANGE_NAMES


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


@settings(max_examples=20, deadline=None)
@given(files=st.lists(st.lists(st.binary(max_size=40), max_size=5), min_size=1, max_size=3))
def test_every_record_is_found_and_read(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("records")
    paths = [write(folder / str(number), records) for number, records in enumerate(files)]
    if not any(files):
        with pytest.raises(UserError, match="there is no record in"):
            index_records(paths)
        return
    index = index_records(paths)
    read = read_record(index)
    expected = [
        (f"record {place} of {path}", record)
        for path, records in zip(paths, files)
        for place, record in enumerate(records)
    ]
    assert len(index) == len(expected)
    for number, (place, record) in enumerate(expected):
        found = read(tf.constant(number, tf.int64))
        assert (found[0].numpy().decode(), found[1].numpy()) == (place, record)


def test_what_is_cut_off_counts_as_one_record(tmp_path):
    path = write(tmp_path / "a", [b"first", b"second"])
    data = (tmp_path / "a").read_bytes()
    for end in range(1, len(data)):
        (tmp_path / "a").write_bytes(data[:end])
        index = index_records([path])
        read = read_record(index)
        contents = [read(tf.constant(n, tf.int64))[1].numpy() for n in range(len(index))]
        assert contents[-1] == b"" or end == len(data) // 2
        assert len(contents) == 1 + (end > 21)


def test_zeros_after_a_crash_are_one_bad_record(tmp_path):
    path = write(tmp_path / "a", [b"first"])
    with open(path, "ab") as file:
        file.write(bytes(10_000))
    index = index_records([path])
    assert len(index) == 2
    assert read_record(index)(tf.constant(1, tf.int64))[1] == b""


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_million_records_are_read_by_number(tmp_path, in_memory):
    path = write(tmp_path / "a", [b"x"] * 1000)
    other = write(tmp_path / "b", [b"first", b"second"])
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data * 1000)
    index = index_records([path, other], in_memory)
    assert len(index) == 10**6 + 2
    assert (index.offsets is not None) == in_memory
    read = read_record(index)
    contents = [read(tf.constant(n, tf.int64))[1].numpy() for n in (0, 999_999, 1_000_001)]
    assert contents == [b"x", b"x", b"second"]


MEMORY_OF_READING = """
import resource, sys
import tensorflow as tf
from kmax_tf.records.index import index_records, read_record

read = read_record(index_records(sys.argv[1:]))
numbers = tf.data.Dataset.range(500).map(read, num_parallel_calls=2)
assert all(content == b"x" for _, content in numbers.as_numpy_iterator())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_many_records_need_no_more_memory_than_few(tmp_path):
    path = write(tmp_path / "a", [b"x"] * 1000)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(data * 4000)
    kilobytes = []
    for name in ("a", "b"):
        kilobytes.append(int(run_python("-c", MEMORY_OF_READING, tmp_path / name).stdout))
    # Their offsets alone are 32 MB. Two runs of the same differ by some megabytes.
    assert kilobytes[1] - kilobytes[0] < 12_000, path


def test_missing_and_empty_files_are_refused(tmp_path):
    (tmp_path / "e.tfrecord").write_bytes(b"")
    with pytest.raises(UserError, match=r"no record .*e\.tfrecord"):
        index_records([str(tmp_path / "e.tfrecord")])
    with pytest.raises(UserError, match=r"cannot index .*absent"):
        index_records([str(tmp_path / "absent")])


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"{letter}.tfrecord", [b"x"]) for letter in "abc"]


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


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_a_folder_is_no_pattern(tmp_path, name):
    for folder in (name, "rec1", "rec 1", "r", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "train-00000-of-00001.tfrecord").touch()
    found = find_files(["train-*.tfrecord"], str(tmp_path / name))
    assert found == [str(tmp_path / name / "train-00000-of-00001.tfrecord")]


def test_a_file_with_the_name_of_a_pattern_is_that_file(tmp_path):
    for name in ("a[1].tfrecord", "a1.tfrecord"):
        (tmp_path / name).touch()
    assert find_files(["a[1].tfrecord"], str(tmp_path)) == [str(tmp_path / "a[1].tfrecord")]
    assert find_files(["a[12].tfrecord"], str(tmp_path)) == [str(tmp_path / "a1.tfrecord")]
