"""Panoptic quality against hand-counted cases, an oracle, and the reference's recorded values."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.config.dataset import read_description
from kmax_tf.evaluation.panoptic_quality import PanopticQuality, PanopticQualityResult
from kmax_tf.labels import LabelSpace
from tests.evaluation import recorded_metrics
from tests.reference import panoptic_files_oracle
from tests.reference.panoptic_maps import (
    CAT_CROWD,
    DIVISOR,
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

DOG_INDEX, CAT_INDEX, ROAD_INDEX, SKY_INDEX = range(4)


def measure(*images) -> PanopticQualityResult:
    metric = PanopticQuality(LABELS)
    for truth, prediction in images:
        metric.update(truth, prediction)
    return metric.result()


def counts(result: PanopticQualityResult, index: int) -> tuple[int, int, int]:
    return int(result.tp[index]), int(result.fp[index]), int(result.fn[index])


def bits(result: PanopticQualityResult) -> bytes:
    return b"".join(
        getattr(result, name).tobytes() for name in ("pq", "sq", "rq", "tp", "fp", "fn")
    )


def test_hand_counted_image():
    truth = runs((DOG_1, 10), (DOG_2, 10), (ROADS, 10))
    # The first dog's IoU is 8 / 10, the second is missed, a third is invented, the road is 14 / 16.
    prediction = runs((DOG_1, 8), (ROADS, 2), (DOG_3, 4), (ROADS, 6), (ROADS, 10))
    result = measure((truth, prediction))
    assert counts(result, DOG_INDEX) == (1, 1, 1)
    assert result.sq[DOG_INDEX] == 0.8
    assert result.rq[DOG_INDEX] == 0.5
    assert result.pq[DOG_INDEX] == 0.4
    assert counts(result, ROAD_INDEX) == (1, 0, 0)
    assert result.pq[ROAD_INDEX] == 10 / 18
    assert result.average(result.pq) == {
        "all": (0.4 + 10 / 18) / 2,
        "things": 0.4,
        "stuff": 10 / 18,
    }


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        # An IoU must exceed one half.
        ([(DOG_1, 4), (ROADS, 4)], [(DOG_1, 2), (ROADS, 6)], (0, 1, 1)),
        ([(DOG_1, 4), (ROADS, 4)], [(DOG_1, 3), (ROADS, 5)], (1, 0, 0)),
        # A prediction that doesn't match is forgiven if most of it lies on unlabeled pixels,
        ([(VOID, 5), (ROADS, 25)], [(DOG_1, 10), (ROADS, 20)], (0, 1, 0)),
        ([(VOID, 6), (ROADS, 24)], [(DOG_1, 10), (ROADS, 20)], (0, 0, 0)),
        # or on a crowd region of its class, which is never missed.
        ([(DOG_CROWD, 10)], [(DOG_1, 10)], (0, 0, 0)),
        ([(CAT_CROWD, 10)], [(DOG_1, 10)], (0, 1, 0)),
    ],
)
def test_rules(truth, prediction, expected):
    assert counts(measure((runs(*truth), runs(*prediction))), DOG_INDEX) == expected


@pytest.mark.parametrize(("rest", "iou"), [(VOID, 1.0), (DOG_CROWD, 0.6)])
def test_unlabeled_pixels_are_taken_out_of_the_union_and_those_of_crowds_are_not(rest, iou):
    result = measure((runs((DOG_1, 6), (rest, 4)), runs((DOG_1, 10))))
    assert counts(result, DOG_INDEX) == (1, 0, 0)
    assert result.sq[DOG_INDEX] == iou


def test_classes_without_segments_are_left_out_of_averages():
    result = measure((runs((ROADS, 5)), runs((ROADS, 5))))
    assert result.average(result.pq)["all"] == result.average(result.pq)["stuff"] == 1
    assert np.isnan(result.average(result.pq)["things"])
    assert np.isnan(result.pq[[DOG_INDEX, CAT_INDEX, SKY_INDEX]]).all()


@pytest.mark.parametrize("images", [[], [np.zeros((0, 0), np.int32)], [np.zeros((0, 5), np.int32)]])
def test_without_pixels_nothing_is_defined(images):
    result = measure(*((image, image) for image in images))
    assert np.isnan(result.pq).all()
    assert np.isnan(result.average(result.pq)["all"])


@pytest.mark.parametrize("unknown", [1 * DIVISOR, 8 * DIVISOR, 77 * DIVISOR, -1, 10**9])
def test_unknown_class_is_an_error(unknown):
    good, bad = runs((DOG_1, 4)), runs((unknown, 4))
    with pytest.raises(ValueError, match=r"the prediction holds class ids that pets doesn't have"):
        PanopticQuality(LABELS).update(good, bad)
    with pytest.raises(ValueError, match=r"the ground truth holds class ids"):
        PanopticQuality(LABELS).update(bad, good)


@pytest.mark.parametrize(
    "prediction", [runs((DOG_1, 5)), runs((DOG_1, 4))[0], runs((DOG_1, 4)).astype(np.float32)]
)
def test_maps_that_do_not_fit_are_an_error(prediction):
    with pytest.raises(ValueError, match="prediction"):
        PanopticQuality(LABELS).update(runs((DOG_1, 4)), prediction)


def test_large_ids_count_the_same():
    """Ids beyond the counting table are sorted instead."""
    truth = runs((DOG_1, 4), (DOG_2, 3), (ROADS, 3), (VOID, 2), (DOG_CROWD, 2))
    prediction = runs((DOG_1, 5), (DOG_2, 2), (ROADS, 5), (DOG_3, 2))
    small = measure((truth, prediction))
    large = PanopticQuality(LabelSpace(LABELS.classes, 8, 9, 10_000_000))
    grow = 10_000_000 - DIVISOR
    large.update(truth + truth // DIVISOR * grow, prediction + prediction // DIVISOR * grow)
    assert bits(large.result()) == bits(small)


@settings(deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=4))
def test_equals_the_oracle(images):
    result = measure(*images)
    in_files = [(*as_in_files(truth), *as_in_files(prediction)) for truth, prediction in images]
    expected = panoptic_files_oracle.count(in_files, LABELS.ids.tolist())
    for index, class_id in enumerate(LABELS.ids.tolist()):
        iou, *of_class = expected[class_id].as_tuple()
        assert counts(result, index) == tuple(of_class)
        tp, fp, fn = of_class
        if not any(of_class):
            assert np.isnan(result.pq[index])
        else:
            pq = float(iou / (tp + Fraction(fp + fn, 2)))
            assert result.pq[index] == pytest.approx(pq, rel=1e-14)
            assert result.pq[index] == pytest.approx(result.sq[index] * result.rq[index], rel=1e-14)


def as_in_files(panoptic):
    """Returns ids and segments_info of a map; category ids are class ids."""
    ids = np.where(panoptic == VOID, 0, panoptic + 1)
    things = LABELS.ids[LABELS.is_thing]
    infos = []
    for segment_id in np.unique(ids[ids > 0]):
        class_id, instance = divmod(int(segment_id) - 1, DIVISOR)
        infos.append(panoptic_files_oracle.segment(segment_id, class_id))
        infos[-1].update(
            area=int((ids == segment_id).sum()), iscrowd=int(class_id in things and not instance)
        )
    return ids, infos


@settings(deadline=None)
@given(pairs())
def test_perfect_prediction_is_one(pair):
    truth = np.where(pair[0] % DIVISOR == 0, np.where(pair[0] < DIVISOR, ROADS, VOID), pair[0])
    result = measure((truth, truth))
    present = result.tp > 0
    assert (result.pq[present] == 1).all()
    assert result.fp.sum() == result.fn.sum() == 0


@settings(deadline=None)
@given(pairs(), renumberings(), renumberings())
def test_instance_numbers_do_not_matter(pair, of_truth, of_prediction):
    truth, prediction = pair
    renumbered = renumber(truth, of_truth), renumber(prediction, of_prediction)
    assert bits(measure(renumbered)) == bits(measure(pair))


@pytest.mark.parametrize("name", ["coco", "cityscapes"])
def test_equals_the_reference(name):
    """The reference has no crowd rule: here its crowd regions get an instance number."""
    labels, _ = read_description(name)
    things, divisor = labels.ids[labels.is_thing], labels.label_divisor
    metric = PanopticQuality(labels)
    recorded = recorded_metrics.of(name)
    for truth, prediction in zip(recorded["truth"], recorded["prediction"]):
        maps = []
        for panoptic in (truth, prediction):
            crowd = (panoptic % divisor == 0) & np.isin(panoptic // divisor, things)
            maps.append(np.where(crowd, panoptic + 200, panoptic))
        metric.update(*maps)
    result = metric.result()
    for values, expected in ((result.tp, "tp"), (result.fp, "fp"), (result.fn, "fn")):
        np.testing.assert_array_equal(values, recorded[f"total_{expected}"][labels.ids])
    np.testing.assert_allclose(
        [result.average(values)["all"] for values in (result.pq, result.sq, result.rq)],
        recorded["pq"][:3],
        rtol=1e-6,
    )
