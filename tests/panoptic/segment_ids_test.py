"""Segment ids to panoptic ids, against a version that goes segment by segment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.errors import BadExampleError
from kmax_tf.panoptic.entries import Segment
from kmax_tf.panoptic.segment_ids import Conventions, panoptic_map

# Category ids of the fixture `labels`: two things (30, 10) and two stuff classes (20, 50).
CATEGORIES = {30: (3, True), 10: (1, True), 20: (2, False), 50: (5, False)}


def naive(ids, segments, keep_crowd):
    """The reference's rules, read off the annotation format: a mask a segment."""
    result = np.zeros(ids.shape, np.int32)
    counts = dict.fromkeys(CATEGORIES, 0)
    for segment in segments:
        class_id, thing = CATEGORIES[segment.category_id]
        mask = ids == segment.id
        if segment.crowd:
            result[mask] = class_id * 100 if keep_crowd else 0
            continue
        counts[segment.category_id] += 1
        result[mask] = class_id * 100 + (counts[segment.category_id] if thing else 0)
    return result


@st.composite
def annotations(draw):
    known = draw(st.lists(st.integers(1, 2**24 - 1), max_size=6, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    ids = rng.choice(np.array([0, *known], np.int32), shape)
    if draw(st.booleans()):
        ids = np.repeat(ids, 3, axis=1)
    segments = [
        Segment(i, draw(st.sampled_from(list(CATEGORIES))), None, draw(st.booleans()))
        for i in draw(st.permutations(known))
    ]
    return ids, segments


@settings(deadline=None)
@given(annotations(), st.booleans())
def test_panoptic_ids_are_those_of_masks(labels, annotation, keep_crowd):
    ids, segments = annotation
    painted = Conventions(exact_areas=False, crowd_is_unlabeled=not keep_crowd)
    panoptic, areas = panoptic_map(ids, segments, labels, painted)
    np.testing.assert_array_equal(panoptic, naive(ids, segments, keep_crowd))
    assert panoptic.dtype == np.int32
    counted = [s for s in segments if not s.crowd and (ids == s.id).any()]
    for category, (class_id, _) in CATEGORIES.items():
        sizes = [int((ids == s.id).sum()) for s in counted if s.category_id == category]
        assert areas.get(class_id, []) == sizes
    if all((ids == s.id).any() for s in segments):
        panoptic_map(ids, segments, labels)
    else:
        with pytest.raises(BadExampleError, match="no pixel of the segments"):
            panoptic_map(ids, segments, labels)


def test_conventions_choose_the_meaning_of_category_ids(labels):
    ids = np.array([[1, 2]], np.int32)
    segments = [Segment(1, 3), Segment(2, 255)]
    conventions = Conventions(by_record_id=True, unlabeled_categories=frozenset({255}))
    panoptic, areas = panoptic_map(ids, segments, labels, conventions)
    np.testing.assert_array_equal(panoptic, [[301, 0]])
    assert areas == {3: [1]}


def test_what_means_nothing_is_unlabeled_where_nothing_is_checked(labels):
    """Ids that aren't listed, categories of no class, one id twice, areas that are wrong."""
    ids = np.array([[9, 8, 7, 6, 0]], np.int32)
    segments = [Segment(9, 99), Segment(7, 30, 5.0), Segment(6, 20), Segment(6, 10, None, True)]
    conventions = Conventions(checked=False, crowd_is_unlabeled=False)
    assert panoptic_map(ids, segments, labels, conventions)[0].tolist() == [[0, 0, 301, 100, 0]]
    for spoilt in (segments[:1], segments[1:2], segments[2:]):
        with pytest.raises(BadExampleError):
            panoptic_map(ids, spoilt, labels)
