import json

import pytest

from kmax_tf.config import load_experiment
from kmax_tf.conversion.descriptions import description_text
from kmax_tf.conversion.experiment_file import (
    area_limit,
    crop_size,
    new_experiment_text,
    segments_of_most,
)
from kmax_tf.panoptic.entries import CategoryEntry
from kmax_tf.records.examples import shard_name
from kmax_tf.records.index import find_files
from kmax_tf.records.statistics import ClassStatistics, Statistics
from kmax_tf.training.task import best_metric
from tests.strange_names import STRANGE_NAMES


def statistics(*sizes, images=100, most=12):
    return Statistics(images, {size: 1 for size in sizes}, {}, most)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (["640x480"], (481, 641)),
        (["641x641"], (641, 641)),
        (["4000x3000"], (481, 641)),
        (["3000x4000"], (641, 481)),
        (["4000x3000", "3000x4000"], (641, 641)),
        (["96x96"], (97, 97)),
        (["97x20"], (33, 97)),
        (["2x1000"], (641, 33)),
        (["100x60", "130x40"], (97, 161)),
    ],
)
def test_crops_hold_every_image(sizes, expected):
    crop = crop_size(statistics(*sizes))
    assert crop == expected
    for size in sizes:
        width, height = map(int, size.split("x"))
        scale = max(crop) / max(width, height)
        assert height * scale <= crop[0] + 1e-6
        assert width * scale <= crop[1] + 1e-6


@pytest.mark.parametrize("most", [1, 30, 400])
@pytest.mark.parametrize("size", ["50x40", "640x480", "5000x5000"])
@pytest.mark.parametrize("images", [1, 200, 10**6])
def test_it_is_a_valid_experiment(tmp_path, most, size, images):
    entries = [CategoryEntry(1, "bolt", True), CategoryEntry(2, "belt", False)]
    (tmp_path / "dataset.textproto").write_text(description_text('a "b"/c', entries, 1000))
    splits = {"train": statistics(size, images=images, most=most), "val": statistics(size)}
    path = tmp_path / "experiment.textproto"
    path.write_text(new_experiment_text('a "b"/c', str(tmp_path), splits))
    experiment = load_experiment(path)
    assert experiment.name == 'a "b"/c'
    assert experiment.data_dir == str(tmp_path)
    assert experiment.train_data.max_segments >= 2 * most
    assert experiment.model.transformer_decoder.num_centers >= most
    assert experiment.training.optimizer.warmup_steps < experiment.training.steps
    assert not experiment.HasField("published")


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_folders_and_splits_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "dataset.textproto").write_text(
        description_text("a", [CategoryEntry(1, "bolt", True)], 1000), "utf-8"
    )
    path = folder / "experiment.textproto"
    path.write_text(new_experiment_text("a", str(folder), {name: statistics("9x9")}), "utf-8")
    experiment = load_experiment(path)
    assert experiment.data_dir == str(folder)
    shard = folder / shard_name(name, 0, 1)
    for other in (shard_name("rec1", 0, 1), shard_name(f"{name}-extra", 0, 1)):
        (folder / other).touch()
    shard.touch()
    assert find_files(experiment.train_data.records, experiment.data_dir) == [str(shard)]


def test_another_split_serves_where_there_is_no_val():
    text = new_experiment_text("a", "out", {"all": statistics("9x9")})
    assert text.count('records: "all-?????-of-?????.tfrecord"') == 2


def test_statistics_add_up_in_any_order():
    parts = [
        Statistics(1, {"1x1": 1}, {"a": ClassStatistics(2, 1, 9, 4, 5)}, 2),
        Statistics(1, {"1x1": 1}, {"a": ClassStatistics()}, 0),
        Statistics(2, {"1x2": 2}, {"a": ClassStatistics(1, 1, 3, 3, 3)}, 1),
    ]
    for order in (parts, parts[::-1]):
        total = Statistics()
        for part in order:
            total.add(part)
        wanted = {"a": ClassStatistics(3, 2, 12, 3, 5)}
        assert total == Statistics(4, {"1x1": 2, "1x2": 2}, wanted, 2)
    assert Statistics.from_json(total.to_json()) == total


def test_centers_and_limits_follow_from_the_segments():
    seen = statistics("1281x1281", most=400)
    seen.segments_per_image = {3: 900, 150: 95, 400: 5}
    assert segments_of_most(seen) == (150, 5)
    text = new_experiment_text("a", "out", {"train": seen})
    assert "images have at most 150 segments, and 5 images more" in text
    assert "num_centers: 192" in text
    assert "max_segments: 800" in text
    # At 641 x 641, 20 of 1000 segments have 25 to 50 pixels, and 10 up to 100.
    seen.relative_areas = {4: 970, 14: 20, 13: 10}
    assert area_limit(seen, 400, 641, 641) == (50, 100)
    seen.relative_areas = {4: 990, 14: 10}
    assert area_limit(seen, 400, 641, 641) == (100, 100)


def test_without_stuff_mask_ap_leads(tmp_path):
    text = new_experiment_text("a", str(tmp_path), {"train": statistics("99x99")}, has_stuff=False)
    (tmp_path / "dataset.textproto").write_text(
        description_text("a", [CategoryEntry(1, "bolt", True)], 1000)
    )
    (tmp_path / "experiment.textproto").write_text(text)
    experiment = load_experiment(tmp_path / "experiment.textproto")
    assert best_metric(experiment) == "ap"
    experiment.dataset.classes.add(id=2, name="belt")
    assert best_metric(experiment) == "pq/all"
    assert "stuff_area_limit" not in text


def test_each_image_adds_to_the_distributions(labels):
    seen = Statistics()
    seen.add_image(100, 200, {3: [40000, 100], 2: [1]}, labels)
    seen.add_image(100, 200, {}, labels)
    assert seen.segments_per_image == {3: 1, 0: 1}
    # Of 200 * 200: all, 1/400 and 1/40000.
    assert seen.relative_areas == {0: 1, 9: 1, 16: 1}
    assert Statistics.from_json(json.loads(json.dumps(seen.to_json()))) == seen
