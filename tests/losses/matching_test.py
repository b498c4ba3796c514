"""Matching: optimal, blind to padding, and never endless."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from kmax_tf.losses.matching import match_in_graph, match_on_host, rounded
from tests.reference import matching_oracle


@pytest.fixture(scope="module", params=[match_on_host, match_in_graph])
def matcher(request):
    """Each implementation, traced once for each shape."""
    return tf.function(request.param)


def run(matcher, similarity):
    """Matches one image [M, N], without padding; returns the centers of its segments."""
    valid = tf.fill([1, len(similarity)], True)
    return matcher(tf.constant(similarity[np.newaxis]), valid).center_of_segment[0].numpy()


def total(similarity, center_of_segment):
    rows = np.flatnonzero(center_of_segment >= 0)
    return similarity[rows, center_of_segment[rows]].sum(dtype=np.float64)


def random_similarity(seed, segments, centers):
    return np.random.default_rng(seed).uniform(-1, 1, [segments, centers]).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(1, 1), (1, 4), (3, 3), (3, 5), (5, 3), (4, 1)]),
)
def test_total_is_the_best_of_all_matchings(matcher, seed, shape):
    similarity = random_similarity(seed, *shape)
    best = matching_oracle.best_total(similarity)
    assert total(similarity, run(matcher, similarity)) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("resolution", [None, 0.5])
def test_ends_when_similarities_are_not_numbers(matcher, resolution, poison):
    match = rounded(matcher, resolution) if resolution else matcher
    centers = run(match, np.full([3, 4], poison, np.float32))
    assert len(set(centers) - {-1}) == 3


def test_no_gradient_passes(matcher):
    similarity = tf.Variable(random_similarity(2, 3, 4)[np.newaxis])
    with tf.GradientTape() as tape:
        matching = matcher(similarity, tf.fill([1, 3], True))
        value = tf.reduce_sum(tf.cast(matching.center_of_segment, tf.float32))
    assert tape.gradient(value, similarity) is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), resolution=st.sampled_from([0.5, 0.25, 2**-14]))
def test_rounded_similarities_give_the_best_total_of_the_rounded(matcher, seed, resolution):
    similarity = random_similarity(seed, 4, 5)
    centers = run(rounded(matcher, resolution), similarity)
    in_steps = np.round(similarity / resolution) * resolution
    assert total(in_steps, centers) == matching_oracle.best_total(in_steps)


@pytest.mark.parametrize("resolution", [None, 2**-14])
def test_in_graph_compiles_with_xla(resolution):
    match = rounded(match_in_graph, resolution) if resolution else match_in_graph
    similarity = tf.constant([random_similarity(seed, 5, 8) for seed in range(2)])
    valid = tf.constant([[True] * 5, [True, False, True, False, False]])
    compiled = tf.function(match, jit_compile=True)(similarity, valid)
    for found, expected in zip(compiled, match(similarity, valid)):
        np.testing.assert_array_equal(found, expected)


KINDS = {
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "products of probabilities": lambda rng, shape: (
        rng.beta(0.1, 3, shape) * rng.beta(0.1, 3, shape)
    ),
    "few values, so ties": lambda rng, shape: rng.integers(0, 3, shape) / 2,
    "all alike": lambda rng, shape: np.full(shape, 0.25),
    "rank one": lambda rng, shape: (
        rng.random([*shape[:2], 1]) * rng.random([shape[0], 1, shape[2]])
    ),
    "everyone wants the same": lambda rng, shape: (
        rng.random(shape) * 1e-3 + np.linspace(1, 0, shape[2])
    ),
    "large and small": lambda rng, shape: rng.choice([1e-30, 1e-7, 1.0, 4.0], shape),
    "not numbers here and there": lambda rng, shape: np.where(
        rng.random(shape) < 0.2,
        rng.choice([np.nan, np.inf, -np.inf], shape),
        rng.random(shape),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("segments", "centers"), [(12, 16), (16, 12), (1, 8)])
def test_thousands_of_matrices_have_the_total_of_scipy(matcher, kind, segments, centers):
    """Any rows are padding: none, some or all, with values that must not matter."""
    rng = np.random.default_rng(7)
    similarity = KINDS[kind](rng, [250, segments, centers]).astype(np.float32)
    valid = rng.random([250, segments]) < rng.choice([0.0, 0.5, 0.9, 1.0], [250, 1])
    center_of_segment, segment_of_center = matcher(tf.constant(similarity), tf.constant(valid))
    counted = np.where(np.isfinite(similarity), similarity, 0.0).astype(np.float64)
    for image in range(250):
        rows = np.flatnonzero(valid[image])
        best = counted[image, rows]
        best = best[linear_sum_assignment(best, maximize=True)].sum()
        found = center_of_segment[image].numpy()
        assert (found[~valid[image]] == -1).all()
        assert (found >= 0).sum() == min(len(rows), centers)
        assert total(counted[image], found) == pytest.approx(best, abs=2e-6)
        back = np.full(centers, -1)
        back[found[found >= 0]] = np.flatnonzero(found >= 0)
        np.testing.assert_array_equal(segment_of_center[image], back)
