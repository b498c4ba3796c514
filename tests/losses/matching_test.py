"""Matching: optimal, permutation-equivariant, blind to padding, and never endless."""

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


def run(matcher, similarity, valid=None):
    """Matches one image [M, N]; returns centers of segments and segments of centers."""
    if valid is None:
        valid = np.ones(len(similarity), bool)
    matching = matcher(
        tf.constant(similarity[np.newaxis], tf.float32), tf.constant(valid[np.newaxis])
    )
    return [part[0].numpy() for part in matching]


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
    center_of_segment, segment_of_center = run(matcher, similarity)
    assert (center_of_segment >= 0).sum() == min(shape)
    assert total(similarity, center_of_segment) == pytest.approx(
        matching_oracle.best_total(similarity), abs=1e-5
    )
    for segment, center in enumerate(center_of_segment):
        assert center == -1 or segment_of_center[center] == segment
    assert (segment_of_center >= 0).sum() == min(shape)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_optimum_of_scipy(matcher, seed):
    similarity = random_similarity(seed, 20, 32) ** 3
    np.testing.assert_array_equal(run(matcher, similarity)[0], matching_oracle.optimum(similarity))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_permutes_with_segments_and_centers(matcher, seed):
    rng = np.random.default_rng(seed)
    similarity = random_similarity(seed, 6, 9)
    rows, columns = rng.permutation(6), rng.permutation(9)
    plain = run(matcher, similarity)[0]
    permuted = run(matcher, similarity[rows][:, columns])[0]
    np.testing.assert_array_equal(columns[permuted], plain[rows])


def test_padding_changes_nothing(matcher):
    similarity = random_similarity(0, 4, 7)
    plain = run(matcher, similarity)
    padded = np.full([9, 7], 50.0, np.float32)
    where = np.array([1, 2, 5, 8])
    padded[where] = similarity
    valid = np.zeros(9, bool)
    valid[where] = True
    center_of_segment, segment_of_center = run(matcher, padded, valid)
    np.testing.assert_array_equal(center_of_segment[where], plain[0])
    assert (center_of_segment[~valid] == -1).all()
    np.testing.assert_array_equal(
        np.where(segment_of_center >= 0, segment_of_center, -1),
        np.where(plain[1] >= 0, where[plain[1]], -1),
    )


def test_batch_equals_single_images_of_unequal_counts(matcher):
    similarity = np.stack([random_similarity(seed, 6, 5) for seed in range(5)])
    valid = np.arange(6) < np.array([[0], [1], [3], [5], [6]])
    matching = matcher(tf.constant(similarity), tf.constant(valid))
    for image in range(5):
        single = run(matcher, similarity[image], valid[image])
        np.testing.assert_array_equal(matching.center_of_segment[image], single[0])
        np.testing.assert_array_equal(matching.segment_of_center[image], single[1])
        assert (single[0] >= 0).sum() == min(5, valid[image].sum())


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_ends_when_similarities_are_not_numbers(matcher, poison):
    similarity = random_similarity(1, 3, 4)
    similarity[1, 2] = poison
    center_of_segment, _ = run(matcher, similarity)
    assert sorted(set(center_of_segment)) == sorted(center_of_segment)
    assert (center_of_segment >= 0).all()
    everything = np.full([3, 4], poison, np.float32)
    assert len(set(run(matcher, everything)[0])) == 3


def test_equal_similarities_still_match_everything(matcher):
    center_of_segment, _ = run(matcher, np.zeros([4, 4], np.float32))
    assert sorted(center_of_segment) == [0, 1, 2, 3]


def test_no_gradient_passes(matcher):
    similarity = tf.Variable(random_similarity(2, 3, 4)[np.newaxis])
    with tf.GradientTape() as tape:
        matching = matcher(similarity, tf.fill([1, 3], True))
        value = tf.reduce_sum(tf.cast(matching.center_of_segment, tf.float32))
    assert tape.gradient(value, similarity) is None


def test_in_graph_compiles_with_xla():
    similarity = np.stack([random_similarity(seed, 5, 8) for seed in range(2)])
    valid = tf.constant([[True] * 5, [True, False, True, False, False]])
    compiled = tf.function(match_in_graph, jit_compile=True)(tf.constant(similarity), valid)
    plain = match_on_host(tf.constant(similarity), valid)
    for found, expected in zip(compiled, plain):
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), resolution=st.sampled_from([0.5, 0.25, 2**-14]))
def test_rounded_similarities_give_the_best_total_of_the_rounded(matcher, seed, resolution):
    similarity = random_similarity(seed, 4, 5)
    center_of_segment, _ = run(rounded(matcher, resolution), similarity)
    in_steps = np.round(similarity / resolution) * resolution
    assert total(in_steps, center_of_segment) == matching_oracle.best_total(in_steps)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_rounding_ends_when_similarities_are_not_numbers(matcher, poison):
    center_of_segment, _ = run(rounded(matcher, 0.5), np.full([3, 4], poison, np.float32))
    assert len(set(center_of_segment)) == 3


def test_rounding_compiles_with_xla():
    similarity = tf.constant([random_similarity(0, 5, 8)])
    valid = tf.fill([1, 5], True)
    match = rounded(match_in_graph, 2**-14)
    for found, expected in zip(
        tf.function(match, jit_compile=True)(similarity, valid), match(similarity, valid)
    ):
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
