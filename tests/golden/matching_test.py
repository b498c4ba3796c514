"""Matching against the centers that the public implementation chose for recorded costs."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses.matching import match_in_graph, match_on_host
from tests.reference import matching_oracle

MATCHERS = [match_on_host, match_in_graph]


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


@pytest.mark.parametrize("image", [0, 1])
def test_the_published_matching_is_the_best_for_rounded_costs(recorded, image):
    """Which explains the difference: the oracle finds it too, but for which of two equals wins."""
    cost, center = recorded[f"tiny{image}/cost"], recorded[f"tiny{image}/center"]
    rounded = np.float32(999.0) + cost
    found = matching_oracle.published(-cost[np.newaxis], np.ones([1, len(cost)], bool))[0][0]
    rows = np.arange(len(cost))
    assert rounded[rows, found].sum(dtype=np.float64) == rounded[rows, center].sum(dtype=np.float64)
    assert (found != center).sum() <= 1
