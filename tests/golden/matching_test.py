"""Matching against the centers that the public implementation chose for recorded costs."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses.matching import match_in_graph, match_on_host, rounded

MATCHERS = [match_on_host, match_in_graph]
# Spacing of float32 numbers near 999: losses.matching_resolution of the published training.
PUBLISHED_RESOLUTION = 2**-14


@pytest.fixture(scope="module")
def recorded():
    return np.load(pathlib.Path(__file__).parent / "matching_coco.npz")


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("image", [0, 1])
def test_usual_matchings_agree(recorded, matcher, image):
    cost = recorded[f"usual{image}/cost"]
    matching = matcher(tf.constant(-cost[np.newaxis]), tf.fill([1, len(cost)], True))
    np.testing.assert_array_equal(matching.center_of_segment[0], recorded[f"usual{image}/center"])


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("image", [0, 1])
def test_tiny_costs_are_matched_better_than_published(recorded, matcher, image):
    cost, center = recorded[f"tiny{image}/cost"], recorded[f"tiny{image}/center"]
    rows = np.arange(len(cost))
    matching = matcher(tf.constant(-cost[np.newaxis]), tf.fill([1, len(cost)], True))
    best = cost[rows, matching.center_of_segment[0]].sum(dtype=np.float64)
    published = cost[rows, center].sum(dtype=np.float64)
    assert best < 0.98 * published < 0


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("kind", ["usual", "tiny"])
@pytest.mark.parametrize("image", [0, 1])
def test_rounded_costs_give_the_published_total(recorded, matcher, kind, image):
    """Which explains the difference. Of centers that are equal after rounding, any may win."""
    cost, center = recorded[f"{kind}{image}/cost"], recorded[f"{kind}{image}/center"]
    match = rounded(matcher, PUBLISHED_RESOLUTION)
    matching = match(tf.constant(-cost[np.newaxis]), tf.fill([1, len(cost)], True))
    found = matching.center_of_segment[0].numpy()
    shifted = np.float32(999.0) + cost
    rows = np.arange(len(cost))
    totals = [shifted[rows, columns].sum(dtype=np.float64) for columns in (found, center)]
    assert totals[0] == totals[1]
    np.testing.assert_array_equal(shifted - 999, np.round(cost / 2**-14) * 2**-14)
