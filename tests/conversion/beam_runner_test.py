"""Conversion as a pipeline: with Apache Beam where it is installed, else with a stand-in."""

import importlib.util
import sys

import pytest

from kmax_tf.conversion.beam_runner import beam_runner
from kmax_tf.conversion.coco_format import read_split
from kmax_tf.conversion.convert import ConversionOptions, convert
from kmax_tf.errors import UserError
from tests import beam_stand_in
from tests.beam_stand_in import Pipeline


@pytest.fixture
def stand_in(monkeypatch):
    beam_stand_in.install(monkeypatch)


@pytest.fixture
def beam(request):
    if importlib.util.find_spec("apache_beam") is None:
        request.getfixturevalue("stand_in")


def run(source, output, labels, **options):
    split = read_split(source, "train2017")
    chosen = ConversionOptions(num_shards=3, **options)
    return convert(split.annotations, output, "train", labels, chosen)


def shards(output):
    return {path.name: path.read_bytes() for path in output.glob("*.tfrecord")}


def test_shards_are_those_of_this_machine(beam, shapes_source, shapes_labels, tmp_path):
    here = run(shapes_source, tmp_path / "here", shapes_labels)
    there = run(shapes_source, tmp_path / "there", shapes_labels, runner=beam_runner(""))
    assert there == here
    assert shards(tmp_path / "there") == shards(tmp_path / "here")
    (tmp_path / "there" / "train-00001-of-00003.tfrecord").unlink()
    again = run(shapes_source, tmp_path / "there", shapes_labels, runner=beam_runner(""))
    assert (again.kept, again.checksum) == (2, here.checksum)


def test_the_first_bad_example_stops_a_strict_run(beam, shapes_source, shapes_labels, tmp_path):
    images = sorted((shapes_source / "train2017").iterdir())
    hidden = [image.rename(image.with_suffix(".away")) for image in (images[9], images[5])]
    try:
        with pytest.raises(UserError, match=images[5].name):
            run(shapes_source, tmp_path, shapes_labels, runner=beam_runner(""), strict=True)
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".jpg"))


def test_flags_are_passed_on(stand_in, shapes_source, shapes_labels, tmp_path):
    runner = beam_runner("--runner=FlinkRunner --flink_master='a b'")
    run(shapes_source, tmp_path, shapes_labels, runner=runner)
    assert Pipeline.flags == ["--runner=FlinkRunner", "--flink_master=a b"]


def test_without_beam_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"pip install 'kmax-tf\[beam\]'"):
        beam_runner("")
