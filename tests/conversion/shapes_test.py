import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.conversion.shapes import categories, write_shapes
from kmax_tf.conversion.shapes_scene import (
    MIN_STUFF_AREA,
    MIN_THING_AREA,
    STUFF,
    THINGS,
    ShapesOptions,
    draw_example,
)
from kmax_tf.errors import OutputError, UserError
from kmax_tf.files import workers

OPTIONS = ShapesOptions(size=(64, 64), seed=5)


def examples(count, options=OPTIONS, split="train"):
    return [draw_example(options, split, index) for index in range(count)]


def test_an_image_depends_on_seed_split_and_index_alone():
    first, again = draw_example(OPTIONS, "train", 7), draw_example(OPTIONS, "train", 7)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.ids, again.ids)
    assert first.segments == again.segments
    for other in (
        draw_example(OPTIONS, "train", 8),
        draw_example(OPTIONS, "val", 7),
        draw_example(ShapesOptions(size=(64, 64), seed=6), "train", 7),
    ):
        assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_segments_describe_the_ids():
    for example in examples(30):
        assert example.image.dtype == np.uint8
        assert example.image.shape[:2] == example.ids.shape
        listed = {segment["id"] for segment in example.segments}
        assert set(np.unique(example.ids)) - {0} == listed
        for segment in example.segments:
            rows, columns = np.nonzero(example.ids == segment["id"])
            assert segment["area"] == len(rows)
            left, top, width, height = segment["bbox"]
            assert (rows.min(), columns.min()) == (top, left)
            assert (rows.max(), columns.max()) == (top + height - 1, left + width - 1)


def test_hardly_visible_things_are_no_segments():
    things = {kind.id for kind, _ in THINGS}
    crowded = ShapesOptions(size=(48, 48), num_things=(25, 30))
    areas = [
        (segment["area"], segment["category_id"] in things)
        for example in examples(8, crowded)
        for segment in example.segments
    ]
    assert min(area for area, thing in areas if thing) >= MIN_THING_AREA
    assert min(area for area, thing in areas if not thing) >= MIN_STUFF_AREA


def test_everything_that_a_panoptic_dataset_has_occurs():
    drawn = examples(60)
    segments = [segment for example in drawn for segment in example.segments]
    assert {s["category_id"] for s in segments} == {c["id"] for c in categories()}
    assert any(segment["iscrowd"] for segment in segments)
    assert not all(segment["iscrowd"] for segment in segments)
    assert any((example.ids == 0).any() for example in drawn)
    assert len({example.ids.shape for example in drawn}) > 10
    thing_areas = [s["area"] for s in segments if s["category_id"] < 100 and not s["iscrowd"]]
    assert min(thing_areas) < 30
    assert max(thing_areas) > 600


@pytest.mark.parametrize("size", [(16, 16), (16, 80), (128, 97)])
@pytest.mark.parametrize("radius", [(0.01, 0.02), (0.5, 1.0)])
def test_extreme_options_can_be_drawn(size, radius):
    options = ShapesOptions(size=size, radius=radius, crowd_probability=1, unlabeled_probability=1)
    for example in examples(3, options):
        assert example.segments


def test_description_lists_the_drawn_classes(shapes_labels):
    drawn = [kind for kind, _ in THINGS] + [kind for kind, _ in STUFF]
    described = [(c.original_id, c.name, c.thing, c.color) for c in shapes_labels.classes]
    assert described == [(k.id, k.name, k.thing, k.color) for k in drawn]
    assert shapes_labels.ids.tolist() == list(range(1, len(drawn) + 1))
    assert shapes_labels.num_ids == len(drawn) + 1


def test_files_hold_what_was_drawn(tmp_path, capsys):
    path = write_shapes(tmp_path, "val", 3, OPTIONS)
    assert "draw val: 3/3, " in capsys.readouterr().err
    content = json.loads(path.read_text())
    assert [entry["image_id"] for entry in content["annotations"]] == [
        entry["id"] for entry in content["images"]
    ]
    for index, (image, entry) in enumerate(zip(content["images"], content["annotations"])):
        example = draw_example(OPTIONS, "val", index)
        assert entry["segments_info"] == example.segments
        with Image.open(tmp_path / "annotations/panoptic_val2017" / entry["file_name"]) as png:
            colors = np.asarray(png).astype(int)
        np.testing.assert_array_equal(colors @ [1, 256, 65536], example.ids)
        with Image.open(tmp_path / "val2017" / image["file_name"]) as jpeg:
            assert (image["height"], image["width"]) == example.ids.shape
            difference = np.abs(np.asarray(jpeg).astype(int) - example.image)
        assert difference.mean() < 8


def test_processes_draw_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "seconds_a_helper", lambda: 1e-9)
    small = ShapesOptions(size=(16, 16))
    alone, together = (
        write_shapes(tmp_path / str(count), "train", 201, small, count) for count in (1, 2)
    )
    assert alone.read_text() == together.read_text()
    files = [sorted(path.parents[1].rglob("*.*g")) for path in (alone, together)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert len(files[0]) == 402
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*files))


def test_a_finished_split_is_left_and_another_replaces_it(tmp_path):
    path = write_shapes(tmp_path, "val", 2, OPTIONS)
    before = path.stat().st_mtime_ns
    write_shapes(tmp_path, "val", 2, OPTIONS)
    assert path.stat().st_mtime_ns == before
    write_shapes(tmp_path, "val", 1, OPTIONS)
    assert len(json.loads(path.read_text())["annotations"]) == 1


def test_bad_options_are_refused(tmp_path):
    for split, count, options in (
        ("training", 1, OPTIONS),
        ("val", 0, OPTIONS),
        ("val", 1, ShapesOptions(size=(8, 64))),
        ("val", 1, ShapesOptions(num_things=(5, 2))),
    ):
        with pytest.raises(UserError):
            write_shapes(tmp_path, split, count, options)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_shapes(tmp_path / "file", "val", 1, OPTIONS)
