"""Overlaps and run-length codes against counting pixel by pixel."""

from __future__ import annotations

import collections

import hypothesis.extra.numpy as hypothesis_numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_masks

from kmax_tf.panoptic.overlaps import find_overlaps
from kmax_tf.panoptic.runs import find_runs

shapes = st.tuples(st.integers(0, 7), st.integers(0, 7))
ids = st.sampled_from([0, 1, 2, 77, 2**24 - 1])


@settings(deadline=None)
@given(st.data(), shapes)
def test_overlaps_equal_a_count_of_pixels(data, shape):
    truth = data.draw(hypothesis_numpy.arrays(np.int32, shape, elements=ids))
    prediction = data.draw(hypothesis_numpy.arrays(np.int64, shape, elements=ids))
    check_overlaps(truth, prediction)


def test_many_ids_are_counted_too():
    """More pairs than a table has room for."""
    truth = np.arange(1100, dtype=np.int32).reshape(10, 110)
    check_overlaps(truth, truth.T.reshape(truth.shape))


def check_overlaps(truth, prediction):
    found = find_overlaps(truth, prediction)
    pixels = list(zip(truth.ravel().tolist(), prediction.ravel().tolist()))
    pairs = zip(
        found.true_ids[found.pair_true].tolist(),
        found.predicted_ids[found.pair_predicted].tolist(),
    )
    assert dict(zip(pairs, found.shared.tolist())) == collections.Counter(pixels)
    for present, areas, values in (
        (found.true_ids, found.true_areas, truth),
        (found.predicted_ids, found.predicted_areas, prediction),
    ):
        counted = collections.Counter(values.ravel().tolist())
        assert dict(zip(present.tolist(), areas.tolist())) == counted
        assert (np.diff(present) > 0).all()


@settings(deadline=None)
@given(st.data(), shapes, st.booleans())
def test_values_are_numbered_counted_and_painted_as_numpy_does(data, shape, columns):
    values = data.draw(hypothesis_numpy.arrays(np.int64, shape, elements=ids))
    found = find_runs(values, columns)
    expected, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.areas, counts)
    np.testing.assert_array_equal(found.places(), inverse.reshape(shape))
    table = np.random.default_rng(0).integers(0, 9, (len(expected), 3))
    np.testing.assert_array_equal(found.paint(table), table[inverse.reshape(shape)])


def test_rows_do_not_run_into_each_other():
    """A run may pass the end of a row; pixels are counted all the same."""
    found = find_overlaps(np.array([[1, 1], [1, 2]]), np.array([[5, 6], [6, 6]]))
    assert found.shared.tolist() == [1, 2, 1]


def test_sizes_that_differ_are_an_error():
    with pytest.raises(ValueError, match=r"\(2, 3\) and the prediction \(3, 2\)"):
        find_overlaps(np.zeros((2, 3), int), np.zeros((3, 2), int))


@settings(deadline=None)
@given(st.data(), st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_codes_are_those_of_pycocotools(data, shape):
    values = data.draw(hypothesis_numpy.arrays(np.int32, shape, elements=ids))
    found = find_runs(values, columns=True)
    for segment, segment_id in enumerate(found.values):
        expected = rle_masks.encode(np.asfortranarray((values == segment_id).astype(np.uint8)))
        code = found.encode(segment)
        assert code["counts"].encode() == expected["counts"]
        assert code["size"] == expected["size"]


def test_an_empty_segment_has_an_empty_code():
    code = find_runs(np.zeros((3, 4), np.int32), columns=True).encode(-1)
    np.testing.assert_array_equal(rle_masks.decode(code), np.zeros((3, 4)))
