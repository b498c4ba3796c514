"""All metrics of images together: keys, merging, files and the table."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.scores import format_table, write_results
from kmax_tf.labels import LabelSpace
from tests.reference.panoptic_maps import (
    CAT_1,
    DIVISOR,
    DOG_1,
    DOG_2,
    LABELS,
    ROADS,
    VOID,
    pairs,
    runs,
)

TRUTH = runs((DOG_1, 10), (DOG_2, 10), (ROADS, 10), (VOID, 2))
PREDICTION = runs((DOG_1, 8), (ROADS, 2), (CAT_1, 4), (ROADS, 6), (ROADS, 12))


def maps(panoptic: np.ndarray, seed: int | None = None) -> dict:
    """Makes the maps of a prediction, with scores of 1 or random ones."""
    scores = np.ones(panoptic.shape, np.float32)
    if seed is not None:
        scores = np.random.default_rng(seed).choice([0.2, 0.5, 1.0], panoptic.shape)
    return {
        "panoptic": panoptic,
        "semantic": panoptic // DIVISOR,
        "instance_scores": scores,
        "semantic_scores": scores,
    }


def measure(mask_ap: bool = True, **images: np.ndarray) -> PanopticMetrics:
    metrics = PanopticMetrics(LABELS, mask_ap)
    for image_id, prediction in images.items():
        metrics.update(image_id, TRUTH, maps(prediction))
    return metrics


def test_result_is_in_percent():
    result = measure(a=PREDICTION).result()
    assert list(result) == [
        *("pq", "sq", "rq", "miou", "ap", "pq_by_size", "per_class"),
        *("worst_images", "best_images", "images", "resolution"),
    ]
    assert result["per_class"]["dog"] == {
        "pq": pytest.approx(100 * 0.8 / 1.5),
        "sq": 80,
        "rq": pytest.approx(100 / 1.5),
        "iou": 40,
        "tp": 1,
        "fp": 0,
        "fn": 1,
        "thing": True,
    }
    assert list(result["per_class"]) == ["dog", "cat", "road", "sky"]
    assert result["pq"]["things"] == pytest.approx(100 * 0.8 / 1.5 / 2)
    assert result["miou"] == pytest.approx((40 + 0 + 100 * 10 / 18) / 3)
    assert 0 < result["ap"]["ap"] < 100
    assert result["images"] == 1
    assert result["resolution"] == "original"


def test_without_mask_ap_scores_are_not_needed():
    metrics = PanopticMetrics(LABELS, mask_ap=False)
    metrics.update("a", TRUTH, {"panoptic": TRUTH, "semantic": TRUTH // DIVISOR})
    assert metrics.result()["ap"] == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(pairs(), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_workers_nor_how_states_travel_matter(images, workers, random):
    """Images are dealt to workers, whose states are merged, as JSON or not, in any order."""

    def id_of(number):
        return number if number % 2 else str(number)

    numbered = list(enumerate(images))
    together = PanopticMetrics(LABELS)
    for number, (truth, prediction) in numbered:
        together.update(id_of(number), truth, maps(prediction, number))

    shares = [PanopticMetrics(LABELS) for _ in range(4)]
    random.shuffle(numbered)
    for number, (truth, prediction) in numbered:
        of_image = id_of(number), truth, maps(prediction, number)
        shares[workers[number]].update(*of_image)
    random.shuffle(shares)
    merged = PanopticMetrics(LABELS)
    for share in shares:
        if random.random() < 0.5:
            merged.merge(share)
        else:
            merged.merge_state(share.state())
    assert json.dumps(merged.result()) == json.dumps(together.result())
    assert merged.state() == together.state()


def test_what_measures_something_else_is_not_merged():
    for other in (
        PanopticMetrics(LABELS, mask_ap=False),
        PanopticMetrics(LABELS, resolution="model"),
        PanopticMetrics(LabelSpace(LABELS.classes[:2], 8, 9, 100)),
    ):
        for merge, what in ((measure().merge, other), (measure().merge_state, other.state())):
            with pytest.raises(ValueError, match="of other classes, another resolution"):
                merge(what)


def test_an_image_of_two_states_is_refused():
    with pytest.raises(ValueError, match="'a' is evaluated twice"):
        measure(a=TRUTH).merge_state(measure(a=TRUTH).state())


def test_segments_by_size():
    """Of a dog of 1023 pixels, one of 1024, one of 96 x 96 and a road, half are found."""
    lengths = (1023, 1024, 96 * 96, 2000)
    truth = runs(*zip((DOG_1, DOG_2, CAT_1, ROADS), lengths))
    prediction = runs(*zip((DOG_1, VOID, CAT_1, DOG_2), lengths))
    metrics = PanopticMetrics(LABELS)
    metrics.update(0, truth, maps(prediction))
    by_size = metrics.result()["pq_by_size"]
    counts = {size: (row["tp"], row["fp"], row["fn"]) for size, row in by_size.items()}
    assert counts == {"small": (1, 0, 0), "medium": (0, 1, 2), "large": (1, 0, 0)}
    assert by_size["small"]["things"] == 100
    assert np.isnan(by_size["small"]["stuff"])
    assert by_size["medium"]["stuff"] == by_size["medium"]["all"] == 0


def test_results_file_has_null_for_what_is_undefined(tmp_path):
    result = measure(a=TRUTH).result()
    path = write_results(result, tmp_path / "new")
    with open(path, encoding="utf-8") as file:
        written = json.load(file, parse_constant=pytest.fail)
    assert path == str(tmp_path / "new" / "metrics.json")
    assert written["pq"] == {"all": 100, "things": 100, "stuff": 100}
    assert written["per_class"]["sky"]["pq"] is None
    assert written["per_class"]["sky"]["tp"] == 0
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["metrics.json"]


def test_table():
    lines = format_table(measure(a=PREDICTION).result()).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip("- ")}
    assert rows["class"] == ["PQ", "SQ", "RQ", "IoU", "TP", "FP", "FN"]
    assert rows["dog"] == ["53.3", "80.0", "66.7", "40.0", "1", "0", "1"]
    assert rows["sky"] == ["-", "-", "-", "-", "0", "0", "0"]
    assert rows["THINGS"] == ["26.7", "40.0", "33.3", "20.0", "1", "1", "1"]
    assert rows["ALL"][4:] == ["2", "1", "1"]
    assert "1 image at original resolution" in lines[-1]
    assert max(len(line) for line in lines) < 80
