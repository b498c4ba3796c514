"""Mean IoU against hand-counted cases, a naive count, and the reference's recorded values."""

import numpy as np
import pytest
from hypothesis import given, settings

from kmax_tf.config.dataset import read_description
from kmax_tf.evaluation.mean_iou import MeanIoU
from tests.evaluation import recorded_metrics
from tests.reference.panoptic_maps import (
    CAT,
    DIVISOR,
    DOG,
    LABELS,
    ROAD,
    SKY,
    UNLABELED,
    pairs,
    runs,
)


def measure(*images) -> MeanIoU:
    metric = MeanIoU(LABELS)
    for truth, prediction in images:
        metric.update(truth, prediction)
    return metric


def test_hand_counted_image():
    truth = runs((DOG, 6), (ROAD, 4), (UNLABELED, 5))
    prediction = runs((DOG, 3), (ROAD, 7), (DOG, 5))
    metric = measure((truth, prediction))
    np.testing.assert_equal(metric.per_class(), [3 / 6, np.nan, 4 / 7, np.nan])
    assert metric.result() == (3 / 6 + 4 / 7) / 2
    assert metric.confusion.sum() == 10


def test_nothing_labeled():
    assert np.isnan(measure((runs((UNLABELED, 4)), runs((DOG, 4)))).result())


def test_unknown_class_is_an_error():
    with pytest.raises(ValueError, match=r"semantic prediction holds class ids .*: 4"):
        measure((runs((DOG, 4)), runs((4, 4))))


def test_sizes_that_differ_are_an_error():
    with pytest.raises(ValueError, match=r"\(1, 4\).*\(1, 5\)"):
        measure((runs((DOG, 4)), runs((DOG, 5))))


@settings(deadline=None)
@given(pairs(), pairs())
def test_equals_a_naive_count_and_merges(first, second):
    images = [tuple(panoptic // DIVISOR for panoptic in pair) for pair in (first, second)]
    metric = measure(images[0])
    metric.add_state(measure(images[1]).state())
    for index, class_id in enumerate([DOG, CAT, ROAD, SKY]):
        inter = union = 0
        for truth, prediction in images:
            labeled = truth != UNLABELED
            inter += int(((truth == class_id) & (prediction == class_id)).sum())
            union += int((((truth == class_id) | (prediction == class_id)) & labeled).sum())
        expected = inter / union if union else np.nan
        np.testing.assert_equal(metric.per_class()[index], expected)
    np.testing.assert_equal(metric.result(), measure(*images).result())


def test_equals_the_reference():
    """The reference can't predict "unlabeled": its recorded value takes class 0 for it."""
    metric = MeanIoU(read_description("cityscapes")[0])
    recorded = recorded_metrics.of("cityscapes")
    for truth, prediction in zip(recorded["truth"], recorded["prediction"]):
        semantic = prediction // 1000
        metric.update(truth // 1000, np.where(semantic == 255, 0, semantic))
    assert metric.result() == pytest.approx(float(recorded["miou"]), rel=1e-6)
