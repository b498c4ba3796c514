"""Mask AP: hand-made cases, invariances, and the reference's recorded values."""

import numpy as np
import pytest
from hypothesis import given, settings

from kmax_tf.config.dataset import read_description
from kmax_tf.evaluation.mask_ap import STATISTICS, MaskAP
from tests.evaluation import recorded_metrics
from tests.reference.panoptic_maps import (
    CAT_1,
    DOG_1,
    DOG_2,
    DOG_3,
    DOG_CROWD,
    LABELS,
    ROADS,
    VOID,
    pairs,
    renumber,
    renumberings,
    runs,
)


def measure(*images) -> dict:
    metric = MaskAP(LABELS)
    for number, (truth, prediction, scores) in enumerate(images):
        metric.update(number, truth, prediction, scores, np.ones_like(scores))
    return metric.result()


def ones(panoptic: np.ndarray) -> np.ndarray:
    return np.ones(panoptic.shape, np.float32)


def test_perfect_prediction(capsys):
    panoptic = runs((DOG_1, 10), (DOG_2, 20), (CAT_1, 10), (ROADS, 10))
    result = measure((panoptic, panoptic, ones(panoptic)))
    assert tuple(result) == STATISTICS
    assert result["ap"] == result["ap50"] == result["ap75"] == result["ap_small"] == 1
    assert np.isnan(result["ap_large"])
    assert capsys.readouterr().out == ""  # pycocotools talks


def test_iou_of_070_counts_at_five_of_ten_thresholds():
    """0.5, 0.55, 0.6, 0.65 and, unlike in PQ inclusive, 0.7."""
    truth = runs((DOG_1, 10), (ROADS, 10))
    prediction = runs((DOG_1, 7), (ROADS, 13))
    result = measure((truth, prediction, ones(truth)))
    assert result["ap"] == pytest.approx(0.5)
    assert result["ap50"] == pytest.approx(1)
    assert result["ap75"] == 0


@pytest.mark.parametrize(("wrong_score", "expected"), [(0.2, 1.0), (0.9, 0.5)])
def test_false_positive_costs_by_its_score(wrong_score, expected):
    truth = runs((DOG_1, 10), (ROADS, 10))
    prediction = runs((DOG_1, 10), (DOG_2, 10))
    scores = np.where(prediction == DOG_2, wrong_score, 0.5)
    assert measure((truth, prediction, scores))["ap"] == pytest.approx(expected)


def test_score_is_the_product_of_means():
    """0.6 * 0.5 of the right one is more than 0.3 * 0.9 of the wrong one."""
    truth = runs((DOG_1, 10), (ROADS, 10))
    prediction = runs((DOG_1, 10), (DOG_2, 10))
    right = prediction == DOG_1
    semantic = np.where(right, 0.6, 0.3)
    semantic[0, :5] = 0.9
    semantic[0, 5:10] = 0.3
    metric = MaskAP(LABELS)
    metric.update("a", truth, prediction, semantic, np.where(right, 0.5, 0.9))
    assert metric.result()["ap"] == pytest.approx(1)


def test_detections_over_crowd_are_no_false_positives():
    truth = runs((DOG_CROWD, 20), (DOG_1, 10))
    prediction = runs((DOG_2, 10), (DOG_3, 10), (DOG_1, 10))
    scores = np.where(prediction == DOG_1, 0.5, 0.9)
    assert measure((truth, prediction, scores))["ap"] == pytest.approx(1)


@pytest.mark.parametrize(("true", "expected"), [(DOG_1, 0), (DOG_CROWD, np.nan)])
def test_no_detections_are_zeros_and_a_crowd_alone_is_no_truth(true, expected):
    truth = runs((true, 20))
    result = measure((truth, runs((VOID, 20)), ones(truth)))
    np.testing.assert_equal([result[key] for key in ("ap", "ap50", "ar100")], [expected] * 3)


def test_no_instance_at_all_is_undefined():
    truth = runs((ROADS, 20))
    assert np.isnan(list(measure((truth, truth, ones(truth))).values())).all()
    assert np.isnan(list(MaskAP(LABELS).result().values())).all()


def test_image_evaluated_twice_is_an_error():
    panoptic = runs((DOG_1, 20))
    first, second = MaskAP(LABELS), MaskAP(LABELS)
    for metric in (first, second):
        metric.update("a", panoptic, panoptic, ones(panoptic), ones(panoptic))
    with pytest.raises(ValueError, match="'a' is evaluated twice"):
        first.update("a", panoptic, panoptic, ones(panoptic), ones(panoptic))
    with pytest.raises(ValueError, match="'a' is evaluated twice"):
        first.add_state(second.state())


def test_scores_of_another_size_are_an_error():
    panoptic = runs((DOG_1, 20))
    with pytest.raises(ValueError, match="'a' differ in size"):
        MaskAP(LABELS).update("a", panoptic, panoptic, np.ones((1, 5)), np.ones((1, 20)))


@settings(max_examples=15, deadline=None)
@given(pairs(), renumberings())
def test_instance_numbers_do_not_matter(pair, numbers):
    truth, prediction = pair
    expected = measure((truth, prediction, ones(truth)))
    renumbered = measure((renumber(truth, numbers), renumber(prediction, numbers), ones(truth)))
    np.testing.assert_equal(renumbered, expected)


@pytest.mark.parametrize("name", ["coco", "cityscapes"])
def test_equals_the_reference(name):
    metric = MaskAP(read_description(name)[0])
    recorded = recorded_metrics.of(name)
    maps = ("truth", "prediction", "semantic_scores", "instance_scores")
    for number in range(4):
        metric.update(number, *(recorded[key][number] for key in maps))
    expected = np.where(recorded["ap"] < 0, np.nan, recorded["ap"])
    np.testing.assert_allclose(list(metric.result().values()), expected, rtol=1e-6)
