import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.conversion.coco_format import read_split
from kmax_tf.conversion.convert import ConversionOptions, convert
from kmax_tf.conversion.shapes import write_shapes
from kmax_tf.conversion.shapes_scene import ShapesOptions
from kmax_tf.errors import BadExampleError, OutputError, UserError
from kmax_tf.files import workers
from kmax_tf.records.examples import decode_example


@pytest.fixture
def source(tmp_path):
    write_shapes(tmp_path / "source", "val", 7, ShapesOptions(size=(32, 32), crowd_probability=1))
    return tmp_path / "source"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "records"


def run(source, output, labels, **options):
    split = read_split(source, "val2017")
    chosen = ConversionOptions(**{"num_shards": 3, **options})
    return convert(split.annotations, output, "val", labels, chosen, split.refused)


def decoded(output):
    files = sorted(str(path) for path in output.glob("*.tfrecord"))
    return [decode_example(record) for record in tf.data.TFRecordDataset(files)]


def contents(output):
    return {path.name: path.read_bytes() for path in output.glob("*.tfrecord")}


def test_records_hold_the_annotations_in_order(source, output, shapes_labels):
    report = run(source, output, shapes_labels)
    annotations = read_split(source, "val2017").annotations
    assert report.images == len(annotations) == 7
    names = sorted(path.name for path in output.glob("*.tfrecord"))
    assert names == [f"val-{i:05d}-of-00003.tfrecord" for i in range(3)]
    for annotation, example in zip(annotations, decoded(output)):
        expected = annotation.load(shapes_labels)
        assert example["image_id"].numpy().decode() == annotation.name
        np.testing.assert_array_equal(example["panoptic"], expected.panoptic)


def test_the_report_counts_segments(source, output, shapes_labels):
    report = run(source, output, shapes_labels)
    content = json.loads((source / "annotations/panoptic_val2017.json").read_text())
    listed = [info for entry in content["annotations"] for info in entry["segments_info"]]
    assert sum(report.segments.values()) == sum(not info["iscrowd"] for info in listed)
    written = json.loads((output / "report.json").read_text())["val"]
    counts = {name: entry["segments"] for name, entry in written["classes"].items()}
    assert {name: count for name, count in counts.items() if count} == report.segments
    assert list(counts) == [category.name for category in shapes_labels.classes]


def test_crowds_are_ignored_or_keep_their_class(source, output, shapes_labels):
    things = shapes_labels.ids[shapes_labels.is_thing] * shapes_labels.label_divisor
    run(source, output, shapes_labels)
    assert not any(np.isin(example["panoptic"], things).any() for example in decoded(output))
    run(source, output, shapes_labels, treat_crowd_as_ignore=False)
    assert any(np.isin(example["panoptic"], things).any() for example in decoded(output))


def test_bad_examples_are_left_out_and_named(source, output, shapes_labels):
    images = sorted((source / "val2017").iterdir())
    images[1].write_bytes(images[1].read_bytes()[:200])
    images[4].unlink()
    report = run(source, output, shapes_labels)
    assert report.images == 5
    assert [name for name, _ in report.refused] == [images[1].stem, images[4].stem]
    assert len(decoded(output)) == 5
    refused = json.loads((output / "report.json").read_text())["val"]["refused"]
    assert [entry["name"] for entry in refused] == [images[1].stem, images[4].stem]
    assert "No such file" in refused[1]["reason"]


def test_strict_stops_at_the_first_bad_example(source, output, shapes_labels):
    images = sorted((source / "val2017").iterdir())
    images[1].unlink()
    with pytest.raises(BadExampleError, match=images[1].name):
        run(source, output, shapes_labels, strict=True)
    assert list(output.glob("*.tfrecord")) == []
    split = read_split(source, "val2017")
    with pytest.raises(UserError, match="spoilt: for a reason"):
        convert(
            split.annotations,
            output,
            "val",
            shapes_labels,
            ConversionOptions(strict=True),
            [("spoilt", "for a reason")],
        )


def test_nothing_usable_is_an_error(source, output, shapes_labels):
    with pytest.raises(UserError, match="no usable annotation"):
        convert([], output, "val", shapes_labels)
    shutil.rmtree(source / "val2017")
    (source / "val2017").mkdir()
    with pytest.raises(UserError, match="all 7 examples of val were refused"):
        run(source, output, shapes_labels)


def test_finished_shards_are_kept(source, output, shapes_labels):
    run(source, output, shapes_labels)
    before, shards = contents(output), sorted(output.glob("*.tfrecord"))
    times = [shard.stat().st_mtime_ns for shard in shards]
    shards[1].unlink()
    report = run(source, output, shapes_labels)
    assert (report.images, report.kept) == (7, 2)
    changed = [shard.stat().st_mtime_ns != time for shard, time in zip(shards, times)]
    assert changed == [False, True, False]
    assert contents(output) == before


def test_shards_are_made_again_when_anything_changed(source, output, shapes_labels):
    run(source, output, shapes_labels)
    assert run(source, output, shapes_labels, treat_crowd_as_ignore=False).kept == 0
    other = dataclasses.replace(shapes_labels, label_divisor=1000)
    assert run(source, output, other, treat_crowd_as_ignore=False).kept == 0
    image = sorted((source / "val2017").iterdir())[0]
    image.write_bytes(image.read_bytes())
    assert run(source, output, other, treat_crowd_as_ignore=False).kept == 2
    shard = output / "val-00002-of-00003.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert run(source, output, other, treat_crowd_as_ignore=False).kept == 2
    for name, text in (("0", "{"), ("1", "[]"), ("2", '{"refused": 5}')):
        (output / f".val-0000{name}-of-00003.tfrecord.json").write_text(text)
    assert run(source, output, other, treat_crowd_as_ignore=False).kept == 0


def test_another_number_of_shards_replaces_ours_and_spares_others(source, output, shapes_labels):
    run(source, output, shapes_labels)
    run(source, output, shapes_labels, num_shards=2)
    assert len(list(output.glob("*.tfrecord"))) == 2
    (output / "val-00000-of-00009.tfrecord").write_bytes(b"")
    with pytest.raises(UserError, match=r"val-00000-of-00009\.tfrecord would be read together"):
        run(source, output, shapes_labels)


def test_an_output_that_is_a_file_is_named(source, output, shapes_labels):
    output.write_text("")
    with pytest.raises(OutputError, match="records"):
        run(source, output, shapes_labels)


def test_records_do_not_depend_on_the_number_of_processes(
    source, tmp_path, shapes_labels, monkeypatch
):
    monkeypatch.setattr(workers, "seconds_a_helper", lambda: 1e-9)
    sorted((source / "val2017").iterdir())[2].unlink()
    reports = [run(source, tmp_path / f"{n}", shapes_labels, workers=n) for n in (1, 2)]
    assert reports[0] == reports[1]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_checksums_are_those_of_sha256sum(source, output, shapes_labels):
    report = run(source, output, shapes_labels)
    lines = (output / "val.sha256").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(output.glob("*.tfrecord"))
    ]
    assert report.checksum == hashlib.sha256((output / "val.sha256").read_bytes()).hexdigest()
    assert json.loads((output / "report.json").read_text())["val"]["checksum"] == report.checksum


def test_what_a_killed_run_left_is_removed(source, output, shapes_labels):
    output.mkdir()
    partial = output / ".val-00001-of-00003.tfrecord.0123.partial"
    partial.write_bytes(b"half")
    run(source, output, shapes_labels)
    assert not partial.exists()


def test_images_and_sizes_are_counted(source, output, shapes_labels):
    report = run(source, output, shapes_labels)
    areas, sizes, most = {}, {}, 0
    for example in decoded(output):
        panoptic = example["panoptic"].numpy()
        size = f"{panoptic.shape[1]}x{panoptic.shape[0]}"
        sizes[size] = sizes.get(size, 0) + 1
        ids, counts = np.unique(panoptic[panoptic > 0], return_counts=True)
        most = max(most, len(ids))
        for panoptic_id, count in zip(ids, counts):
            areas.setdefault(panoptic_id // shapes_labels.label_divisor, []).append(count)
    assert report.statistics.sizes == sizes
    assert report.statistics.most_segments == most
    names = {category.id: category.name for category in shapes_labels.classes}
    for class_id, found in areas.items():
        counted = report.statistics.classes[names[class_id]]
        assert (counted.segments, counted.pixels) == (len(found), sum(found))
        assert (counted.smallest, counted.largest) == (min(found), max(found))


def test_remote_files_serve(source, shapes_labels):
    """`ram://` stands for a remote file system; it is this process' own."""
    root, output = "ram://source", "ram://records"
    for path in source.rglob("*"):
        if path.is_file():
            target = f"{root}/{path.relative_to(source)}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            with tf.io.gfile.GFile(target, "wb") as file:
                file.write(path.read_bytes())
    tf.io.gfile.makedirs(output)
    assert run(root, output, shapes_labels, workers=1).images == 7
    assert run(root, output, shapes_labels, workers=1).kept == 3
    files = tf.io.gfile.glob(f"{output}/val-*.tfrecord")
    assert len(list(tf.data.TFRecordDataset(files))) == 7


@pytest.mark.parametrize("name", ["rec[12]", "rec*", "rec?"])
def test_no_other_folder_is_touched(source, tmp_path, shapes_labels, name):
    for folder in ("rec1", "rec2"):
        run(source, tmp_path / folder, shapes_labels)
    before = [contents(tmp_path / folder) for folder in ("rec1", "rec2")]
    run(source, tmp_path / name, shapes_labels, num_shards=2)
    assert len(decoded(tmp_path / name)) == 7
    assert [contents(tmp_path / folder) for folder in ("rec1", "rec2")] == before


def test_splits_whose_names_start_alike_are_kept_apart(source, output, shapes_labels):
    annotations = read_split(source, "val2017").annotations
    for split, count in (("train", 3), ("train-extra", 2), ("train", 2)):
        convert(annotations, output, split, shapes_labels, ConversionOptions(num_shards=count))
    names = sorted(path.name for path in output.glob("*.tfrecord"))
    assert names == [
        f"{s}-0000{i}-of-00002.tfrecord" for s in ("train", "train-extra") for i in (0, 1)
    ]
