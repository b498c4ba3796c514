"""Small components go, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.postprocessing.small_components import (
    remove_small_components,
    without_small_components,
)

MAP = np.array(
    [
        [7, 7, 7, 0, 5, 5],
        [7, 7, 0, 7, 0, 0],
        [0, 0, 0, 7, 0, 5],
        [9, 0, 9, 0, 9, 9],
    ],
    np.int32,
)


def test_parts_are_connected_through_sides_and_the_largest_stays():
    before = MAP.copy()
    cleaned = remove_small_components(MAP, 3, 0)
    expected = MAP.copy()
    expected[1:3, 3] = 0  # 2 pixels of 7, touching the others by a corner only
    expected[2, 5] = 0  # 1 pixel of 5; its largest part has 2 and stays
    expected[3, [0, 2]] = 0
    np.testing.assert_array_equal(cleaned, expected)
    np.testing.assert_array_equal(MAP, before)


@pytest.mark.parametrize("least_area", [0, 1])
def test_without_a_limit_the_map_itself_is_returned(least_area):
    assert remove_small_components(MAP, least_area, 0) is MAP


def test_unlabeled_pixels_are_no_segment():
    lone = np.array([[0, 3, 0], [3, 3, 3]], np.int32)
    assert remove_small_components(lone, 9, 0) is lone
    other_void = np.array([[255, 3, 255]], np.int32)
    np.testing.assert_array_equal(remove_small_components(other_void, 9, 255), other_void)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 6, 20]),
)
def test_a_graph_removes_the_same(size, seed, least_area):
    rng = np.random.default_rng(seed)
    panoptic = rng.choice([0, 5, 7], size, p=[0.2, 0.4, 0.4]).astype(np.int32)
    expected = remove_small_components(panoptic, least_area, 0)
    np.testing.assert_array_equal(in_graph(panoptic, least_area), expected)


def test_a_graph_follows_a_part_along_its_whole_way():
    spiral = np.zeros((41, 41), np.int32)
    for ring in range(0, 20, 2):
        spiral[ring, ring : 41 - ring] = spiral[40 - ring, ring : 41 - ring] = 3
        spiral[ring : 41 - ring, 40 - ring] = spiral[ring + 2 : 41 - ring, ring] = 3
        spiral[ring + 2, ring : ring + 3] = 3
    spiral[4, 7] = 0
    expected = remove_small_components(spiral, 10**6, 0)
    assert (expected != spiral).any()
    assert (expected == 3).any()
    np.testing.assert_array_equal(in_graph(spiral, 10**6), expected)


def in_graph(panoptic, least_area):
    return _in_graph(tf.constant(panoptic), least_area)


_in_graph = tf.function(
    lambda panoptic, least_area: without_small_components(panoptic, least_area, 0),
    autograph=False,
    reduce_retracing=True,
)
