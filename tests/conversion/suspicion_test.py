import numpy as np
import pytest

from kmax_tf.conversion.suspicion import FAR_PARTS, SLIVERS, find_suspicions


def label(*boxes):
    """Cats, 301, ..., in boxes (number, top, bottom, left, right)."""
    panoptic = np.zeros((40, 60), np.int32)
    for number, top, bottom, left, right in boxes:
        panoptic[top:bottom, left:right] = 300 + number
    return panoptic


@pytest.mark.parametrize(
    ("boxes", "kinds"),
    [
        ([(1, 0, 20, 0, 20)], []),
        ([(1, 5, 6, 0, 30)], [SLIVERS]),
        ([(1, 0, 40, 59, 60)], [SLIVERS]),
        ([(1, 5, 7, 0, 30)], [SLIVERS]),
        ([(1, 5, 8, 0, 30)], []),
        ([(1, 5, 6, 0, 5)], []),  # tiny
        ([(1, 0, 10, 0, 10), (1, 0, 10, 50, 60)], [FAR_PARTS]),
        ([(1, 0, 10, 0, 10), (1, 0, 10, 20, 30)], []),
        ([(1, 0, 20, 0, 20), (1, 38, 40, 58, 60)], []),  # a crumb
        ([(1, 0, 9, 0, 9), (1, 0, 9, 12, 21), (1, 0, 9, 24, 33), (1, 0, 9, 36, 45)], []),
        ([(0, 5, 6, 0, 30)], []),  # a crowd region
        ([(-100, 5, 6, 0, 30)], []),  # stuff
        ([(1, 5, 6, 0, 30), (2, 8, 20, 0, 20)], [SLIVERS]),
    ],
)
def test_things_look_odd(labels, boxes, kinds):
    found = find_suspicions(label(*boxes), labels)
    assert [suspicion.kind for suspicion in found] == kinds
    assert all(suspicion.panoptic_id == 301 for suspicion in found)


def test_the_wider_gap_is_odder(labels):
    scores = [
        find_suspicions(label((1, 0, 10, 0, 10), (1, 0, 10, left, left + 10)), labels)[0].score
        for left in (30, 40, 50)
    ]
    assert scores == sorted(scores)
    assert len(set(scores)) == 3
