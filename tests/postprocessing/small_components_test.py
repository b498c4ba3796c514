"""Small components go, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from kmax_tf.postprocessing.small_components import remove_small_components

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
