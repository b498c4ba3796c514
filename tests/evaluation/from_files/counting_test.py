"""Panoptic quality of files: the official rules, and independence of the number of workers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.evaluation.from_files.counting import evaluate_pairs
from kmax_tf.evaluation.from_files.pairing import pair_images
from kmax_tf.evaluation.from_files.panoptic_file import categories_of, read_panoptic_file
from kmax_tf.files import workers as processes
from kmax_tf.files.progress import Progress
from kmax_tf.panoptic.coco_json import GROUND_TRUTH, PREDICTIONS
from tests.evaluation.panoptic_sets import CATEGORIES, IDS, THINGS, write_set
from tests.reference import panoptic_files_oracle as oracle


def evaluate(folder, images, workers=1, mask_ap=False):
    paths = write_set(folder, images)
    truth, predictions = (
        read_panoptic_file(str(path), use=use)
        for path, use in zip(paths, (GROUND_TRUTH, PREDICTIONS))
    )
    labels = categories_of(truth)
    pairs, _, notes = pair_images(truth, predictions, labels)
    progress = Progress(len(pairs), "", io.StringIO())
    metrics, more = evaluate_pairs(pairs, labels, mask_ap, workers, progress)
    assert progress.done == len(pairs)
    return metrics.result(), [*notes, *more]


def counts_of(result, name):
    row = result["per_class"][name]
    return row["tp"], row["fp"], row["fn"]


def image(true, predicted, **true_more):
    """Makes an image of (category, pixels) runs; category 0 is unlabeled."""
    maps, infos = [], []
    for runs in (true, predicted):
        ids = np.repeat(*zip(*[(n + 1 if c else 0, p) for n, (c, p) in enumerate(runs)]))
        maps.append(ids[np.newaxis])
        infos.append([oracle.segment(n + 1, c) for n, (c, _) in enumerate(runs) if c])
    for entry in infos[0]:
        entry.update(area=int((maps[0] == entry["id"]).sum()), iscrowd=0)
        entry.update(true_more.get(f"of_{entry['id']}", {}))
    return maps[0], infos[0], maps[1], infos[1]


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_official_rules(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    images = [oracle.random_image(rng, IDS) for _ in range(rng.integers(1, 5))]
    result, _ = evaluate(tmp_path_factory.mktemp("set"), images)
    expected = oracle.count(images, IDS)
    for category in CATEGORIES:
        _, *counts = expected[category["id"]].as_tuple()
        assert counts_of(result, category["name"]) == tuple(counts)
    for group, scores in oracle.averages(expected, THINGS).items():
        for name, score in zip(("pq", "sq", "rq"), scores or [np.nan] * 3):
            assert result[name][group] == pytest.approx(100 * float(score), rel=1e-14, nan_ok=True)


def test_areas_of_the_truth_are_never_recounted(tmp_path):
    pair = image([(3, 10)], [(3, 10)], of_1={"area": 16})
    result, notes = evaluate(tmp_path, [pair])
    assert result["per_class"]["dog"]["sq"] == 100 * 10 / 16
    assert [note.startswith("1 image whose true JSON states areas") for note in notes] == [True]
    result, _ = evaluate(tmp_path, [image([(3, 10)], [(3, 10)], of_1={"area": 4})])
    assert result["per_class"]["dog"]["sq"] == 250


def test_pixels_that_the_truth_does_not_list_are_no_void(tmp_path):
    true_ids, true_info, *predicted = image([(3, 4), (5, 6)], [(3, 10)])
    result, notes = evaluate(tmp_path, [(true_ids, true_info[:1], *predicted)])
    assert counts_of(result, "dog") == (0, 1, 1)
    assert "doesn't list" in notes[0]
    true_ids[true_ids == 2] = 0
    result, notes = evaluate(tmp_path, [(true_ids, true_info[:1], *predicted)])
    assert counts_of(result, "dog") == (1, 0, 0)
    assert notes == []


def test_areas_that_are_not_stated_are_counted(tmp_path):
    pair = image([(3, 10), (8, 6)], [(3, 8), (8, 8)])
    for entry in pair[1]:
        del entry["area"]
    result, notes = evaluate(tmp_path, [pair])
    assert result["per_class"]["dog"]["sq"] == 80
    assert "states no areas" in notes[0]


def test_mask_ap_of_files_knows_crowds_sizes_and_scores(tmp_path):
    """The better scored of two detections is wrong; one on the crowd counts nowhere."""
    true = [(3, 40), (3, 20), (8, 40)]
    predicted = [(3, 40), (3, 20), (3, 20), (8, 20)]
    pair = image(true, predicted, of_2={"iscrowd": 1}, of_1={"area": 50_000})
    for entry, score in zip(pair[3], (0.5, 0.9, 0.9, 0.5)):
        entry["score"] = score
    result, _ = evaluate(tmp_path, [pair], mask_ap=True)
    assert result["ap"]["ap"] == pytest.approx(50)
    assert np.isnan(result["ap"]["ap_small"])
    # Detections of other sizes are ignored unless they match.
    assert result["ap"]["ap_large"] == pytest.approx(100)


def test_the_number_of_workers_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "seconds_a_helper", lambda: 1e-9)
    rng = np.random.default_rng(5)
    images = [oracle.random_image(rng, IDS) for _ in range(70)]
    alone = evaluate(tmp_path, images, workers=1, mask_ap=True)
    together = evaluate(tmp_path, images, workers=3, mask_ap=True)
    assert json.dumps(together) == json.dumps(alone)
    assert alone[0]["images"] == 70
