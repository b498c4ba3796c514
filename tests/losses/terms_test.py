"""Each loss term against its oracle, values and gradients, and against dense cross-entropies."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.losses.instance_discrimination import (
    instance_discrimination,
    interpolate_pixels,
    sample_pixels,
)
from kmax_tf.losses.pq_style import class_cross_entropy, mask_dice
from kmax_tf.losses.prediction import pixel_entropy_and_mask_sizes
from kmax_tf.losses.semantic import semantic_cross_entropy
from kmax_tf.losses.term import mean_of_nonzero
from tests.reference import layers_oracle, losses_oracle

PIXELS, CENTERS, SEGMENTS, CLASSES = 12, 5, 4, 3


class Case:
    """One image with random logits and a random matching; segment 3 has no center."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.mask_logits = rng.normal(size=[PIXELS, CENTERS])
        self.class_logits = rng.normal(size=[CENTERS, CLASSES + 1])
        embeddings = rng.normal(size=[PIXELS, 3])
        self.embeddings = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
        self.segments = rng.integers(-1, SEGMENTS, PIXELS)
        self.segments[:5] = [-1, 0, 1, 2, 3]
        self.labeled = self.segments >= 0
        self.labeled[0] = True  # a crowd pixel
        self.classes = rng.integers(0, CLASSES, SEGMENTS)
        self.center = np.array([*rng.permutation(CENTERS)[:3], -1])
        self.truth = losses_oracle.Truth(
            self.mask_logits,
            self.class_logits,
            self.segments,
            self.labeled,
            self.classes,
            center=self.center,
        )
        self.segment_weights = np.array(
            [self.truth.class_similarity[m, n] for m, n in enumerate(self.center)]
        )

    def cross_entropy(self, mask_logits, spread=False):
        return self.entropy_and_sizes(mask_logits, spread)[0]

    def entropy_and_sizes(self, mask_logits, spread=False):
        crowd = self.labeled & (self.segments < 0) & spread
        return pixel_entropy_and_mask_sizes(
            mask_logits, batch(self.segments), batch(self.center), tf.constant(crowd[np.newaxis])
        )

    def pq_mask(self, mask_logits, segment_weights=None):
        weights = self.segment_weights if segment_weights is None else segment_weights
        entropy, mask_sizes = self.entropy_and_sizes(mask_logits)
        return mask_dice(
            mask_sizes, entropy, batch(self.segments), batch(self.center), batch(weights)
        )

    def pq_class(self, class_logits):
        target, weight = np.full(CENTERS, CLASSES), self.truth.unlabeled_share.copy()
        for segment, center in self.truth.matches():
            target[center] = self.classes[segment]
            weight[center] = self.truth.mask_similarity[segment, center]
        return class_cross_entropy(class_logits, batch(target), batch(weight), 0.75)


def batch(array):
    array = np.asarray(array)
    kind = tf.int32 if array.dtype.kind == "i" else tf.float32
    return tf.constant(array[np.newaxis], kind)


def check_value_and_gradient(ours, oracle, point, rng):
    """Compares values, and derivatives along random directions, at a point."""
    tensor = batch(point)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = ours(tensor)
    assert value.shape == [1]
    assert float(value[0]) == pytest.approx(oracle(point), rel=1e-5, abs=1e-7)
    gradient = tape.gradient(value, tensor)[0].numpy().astype(np.float64)
    for _ in range(3):
        direction = rng.normal(size=point.shape)
        step = 1e-5 * direction
        slope = (oracle(point + step) - oracle(point - step)) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-3, abs=1e-5)


seeds = pytest.mark.parametrize("seed", range(4))
# Term: (ours, the oracle's, where) of a case.
TERMS = {
    "pq_mask": (
        lambda case, x: case.pq_mask(x),
        lambda case, x: losses_oracle.pq_mask(case.truth, x, weight=1, matched_share=1),
        "mask_logits",
    ),
    "pq_class": (
        lambda case, x: case.pq_class(x),
        lambda case, x: losses_oracle.pq_class(case.truth, x, weight=1),
        "class_logits",
    ),
    "mask_id": (
        lambda case, x: mean_of_nonzero(case.cross_entropy(x)),
        lambda case, x: losses_oracle.mask_id(case.truth, x, weight=1),
        "mask_logits",
    ),
    "instance_discrimination": (
        lambda case, x: instance_discrimination(x, batch(case.segments), SEGMENTS, 0.3, False),
        lambda case, x: losses_oracle.instance_discrimination(x, case.truth.masks),
        "embeddings",
    ),
}


@seeds
@pytest.mark.parametrize("term", TERMS)
def test_value_and_gradient(term, seed):
    ours, oracle, name = TERMS[term]
    case = Case(seed)
    point = getattr(case, name)
    check_value_and_gradient(partial(ours, case), partial(oracle, case), point, case.rng)


@seeds
@pytest.mark.parametrize("top_fraction", [1.0, 0.4])
def test_semantic_cross_entropy(seed, top_fraction):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 4, 10)
    ids[0] = 0
    weights = rng.uniform(0.5, 3, 10)
    counted = np.where(ids == 0, 0.0, weights)
    check_value_and_gradient(
        lambda x: semantic_cross_entropy(x, batch(ids), batch(counted), top_fraction),
        lambda x: losses_oracle.semantic(x, ids, weights, 0, top_fraction),
        rng.normal(size=[10, 4]),
        rng,
    )


def test_ids_of_unweighted_pixels_may_be_out_of_range():
    """Cityscapes' unlabeled pixels have the id 255."""
    logits = tf.random.normal([1, 3, 4], seed=0)
    ids, weights = tf.constant([[1, 255, 2]]), tf.constant([[1.0, 0.0, 1.0]])
    value = semantic_cross_entropy(logits, ids, weights, 1.0)
    expected = losses_oracle.semantic(logits[0].numpy(), [1, 255, 2], [1.0] * 3, 255)
    assert float(value[0]) == pytest.approx(expected, rel=1e-5)


def dense_targets(case):
    """Targets [1, P, N] of the published cross-entropy; zero for pixels without a center."""
    targets = np.zeros([1, PIXELS, CENTERS], np.float32)
    for pixel, segment in enumerate(case.segments):
        if segment >= 0 and case.center[segment] >= 0:
            targets[0, pixel, case.center[segment]] = 1.0
    return tf.constant(targets)


@seeds
def test_spread_gives_crowds_the_gradient_of_the_dense_cross_entropy(seed):
    case = Case(seed)
    case.segments[case.segments == 3] = 2  # the published training gives all segments a center
    logits = batch(case.mask_logits)
    labeled = batch(case.labeled.astype(np.float32))
    targets = dense_targets(case)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        dense = tf.nn.softmax_cross_entropy_with_logits(targets, logits) * labeled
        spread, plain = case.cross_entropy(logits, spread=True), case.cross_entropy(logits)
    np.testing.assert_allclose(spread, dense, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(spread, plain, rtol=1e-6)
    expected = tape.gradient(dense, logits).numpy()
    np.testing.assert_allclose(tape.gradient(spread, logits), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected[0, 0]).max() > 0  # the crowd pixel's
    expected[0, case.segments < 0] = 0.0
    np.testing.assert_allclose(tape.gradient(plain, logits), expected, rtol=1e-4, atol=1e-6)


@seeds
def test_spread_gives_the_contrastive_loss_the_dense_gradient(seed):
    case = Case(seed)
    embeddings = tf.constant(case.rng.normal(size=[1, PIXELS, 3]), tf.float32)
    masks = losses_oracle.one_hot_masks(case.segments, SEGMENTS)
    same = masks @ masks.T
    target = tf.constant((same / np.maximum(same.sum(1, keepdims=True), 1))[np.newaxis], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(embeddings)
        similarity = tf.matmul(embeddings, embeddings, transpose_b=True) / 0.3
        dense = tf.nn.softmax_cross_entropy_with_logits(target, similarity)
        dense = tf.reduce_sum(dense) / float((case.segments >= 0).sum())
        ours = instance_discrimination(embeddings, batch(case.segments), SEGMENTS, 0.3, True)
    assert float(ours[0]) == pytest.approx(float(dense), rel=1e-5)
    np.testing.assert_allclose(
        tape.gradient(ours, embeddings), tape.gradient(dense, embeddings), rtol=1e-4, atol=1e-6
    )


def test_mean_of_nonzero_is_zero_where_all_are():
    values = tf.constant([[0.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(mean_of_nonzero(values), [3.0, 0.0])


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.5])
def test_sampling_follows_the_inverse_area(temperature):
    """The first of one sampled pixel has the probability of a softmax over its logits."""
    segments = np.array([0, 0, 0, 0, 1, 1, 2, -1, -1])
    labeled = np.array([True] * 8 + [False])  # pixel 7 is crowd, 8 unlabeled
    draws = 20000
    uniform = np.random.default_rng(0).uniform(size=[draws, 9]).astype(np.float32)

    def repeat(array):
        return tf.repeat(tf.constant(array)[tf.newaxis], draws, axis=0)

    areas = repeat(np.array([4, 2, 1], np.float32))
    chosen = sample_pixels(
        repeat(segments.astype(np.int32)), repeat(labeled), areas, 1, temperature, uniform
    )
    frequency = np.bincount(chosen.numpy().ravel(), minlength=9) / draws
    inverse = losses_oracle.inverse_areas(segments, 3) ** temperature
    inverse[~labeled] = 0.0
    np.testing.assert_allclose(frequency, inverse / inverse.sum(), atol=0.012)


@pytest.mark.parametrize("side", [(5, 3), (9, 9), (17, 33)])
def test_interpolated_pixels_are_those_of_the_resized_grid(side):
    """Upwards, downwards along one axis, and where nothing is to be resized."""
    size = (17, 33)
    grid = np.random.default_rng(0).normal(size=[2, *side, 3]).astype(np.float32)
    pixels = np.random.default_rng(1).permutation(size[0] * size[1])[:100]
    pixels = np.stack([pixels, pixels[::-1]]).astype(np.int32)
    pixels[:, 0], pixels[:, 1] = 0, size[0] * size[1] - 1
    resized = layers_oracle.resize(grid, *size).reshape([2, -1, 3])
    expected = np.stack([image[rows] for image, rows in zip(resized, pixels)])
    values = interpolate_pixels(tf.constant(grid), size, tf.constant(pixels))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_sampling_is_without_replacement_and_takes_unlabeled_pixels_last():
    segments = tf.constant([[0, 0, 1, -1, -1, -1]])
    labeled = tf.constant([[True, True, True, True, False, False]])
    areas = tf.constant([[2.0, 1.0]])
    for seed in range(5):
        uniform = tf.random.stateless_uniform([1, 6], [seed, 0])
        chosen = sample_pixels(segments, labeled, areas, 4, 1.5, uniform).numpy()[0]
        assert sorted(chosen) == [0, 1, 2, 3]


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_sampling_survives_extreme_random_numbers(extreme):
    segments, labeled = tf.constant([[0, 0, -1]]), tf.constant([[True, True, True]])
    uniform = tf.fill([1, 3], extreme)
    chosen = sample_pixels(segments, labeled, tf.constant([[2.0]]), 3, 1.5, uniform)
    assert sorted(chosen.numpy()[0]) == [0, 1, 2]


def test_weights_have_a_floor():
    """So that a match that resembles nothing yet still learns."""
    case = Case(0)
    logits = batch(case.mask_logits)
    at_zero = case.pq_mask(logits, np.zeros(SEGMENTS))
    at_one = case.pq_mask(logits, np.ones(SEGMENTS))
    np.testing.assert_allclose(at_zero, 1e-5 * at_one, rtol=1e-4)
    classes, target = batch(case.class_logits), tf.fill([1, CENTERS], 1)
    at_zero = class_cross_entropy(classes, target, tf.zeros([1, CENTERS]), 0.75)
    at_one = class_cross_entropy(classes, target, tf.ones([1, CENTERS]), 0.75)
    np.testing.assert_allclose(at_zero, 1e-5 * at_one, rtol=1e-4)
