"""The shared building blocks against their oracles."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.layers import (
    ACTIVATIONS,
    BatchNormFactory,
    ConvBN,
    DenseBN,
    DropPath,
    SeparableConvBN,
    gelu,
    resize_bilinear,
)
from tests.model.weights import array, norm_of, random, randomize
from tests.reference import layers_oracle as oracle

NORM = BatchNormFactory()


def close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_convolution(size, stride, dilation):
    layer = ConvBN(3, NORM, size, stride, dilation, gelu)
    x = random(2, 9, 5, 4)
    layer(x)
    randomize(layer)
    expected = oracle.convolve(x.astype(np.float64), array(layer.conv.kernel), stride, dilation)
    close(layer(x), oracle.gelu(oracle.normalize(expected, norm_of(layer.batch_norm))))


@pytest.mark.parametrize("pixels", [33, 65, 17])
def test_strided_convolution_aligns_corners(pixels):
    """n pixels become (n - 1) / 2 + 1: even rows stay, so that strides divide all the way down."""
    x = np.zeros([1, pixels, pixels, 1], np.float32)
    x[0, 0, 0], x[0, -1, -1] = 1.0, 2.0
    layer = ConvBN(1, NORM, kernel_size=3, stride=2)
    layer(x)
    layer.conv.kernel.assign(tf.reshape(tf.one_hot(4, 9), [3, 3, 1, 1]))
    y = layer.conv(layer.pad(x)).numpy()[0, ..., 0]
    assert y.shape == ((pixels - 1) // 2 + 1,) * 2
    assert (y[0, 0], y[-1, -1]) == (1.0, 2.0)


def test_separable_convolution():
    layer = SeparableConvBN(3, 5, NORM)
    x = random(2, 6, 4, 2)
    layer(x)
    randomize(layer)
    depthwise, pointwise = layer.depthwise, layer.pointwise
    expected = oracle.convolve_depthwise(
        x.astype(np.float64), array(depthwise.conv.depthwise_kernel)
    )
    expected = oracle.gelu(oracle.normalize(expected, norm_of(depthwise.batch_norm)))
    expected = expected @ array(pointwise.conv.kernel)[0, 0]
    close(layer(x), oracle.gelu(oracle.normalize(expected, norm_of(pointwise.batch_norm))))


def test_dense():
    layer = DenseBN(3, NORM)
    x = random(2, 5, 4)
    layer(x)
    randomize(layer)
    expected = x.astype(np.float64) @ array(layer.dense.kernel)
    close(layer(x), oracle.normalize(expected, norm_of(layer.batch_norm)))


def test_activations_are_exact():
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    close(ACTIVATIONS["gelu"](x), oracle.gelu(x.astype(np.float64)), 1e-6)
    close(ACTIVATIONS["relu"](x), oracle.relu(x), 0)


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (4, 3, 5)), ((0, 2), (3, 4, 2, 5, 5)), ((1, 3), (4, 2, 5, 3))]
)
def test_batch_norm_in_training_normalizes_over_the_other_axes(axis, shape):
    layer = NORM("norm", axis=axis)
    x = 3.0 * random(*shape) + 1.0
    y = layer(x, training=True)
    kept = [a % len(shape) for a in np.atleast_1d(axis)]
    others = tuple(a for a in range(len(shape)) if a not in kept)
    mean, variance = oracle.batch_statistics(x.astype(np.float64), others)
    close(y, oracle.normalize(x, (1.0, 0.0, mean, variance)))
    close(layer.moving_mean, 0.01 * np.squeeze(mean).reshape(layer.moving_mean.shape), 1e-5)
    count = x.size / mean.size
    biased = 0.99 + 0.01 * np.squeeze(variance).reshape(layer.moving_variance.shape)
    corrected = 0.99 + 0.01 * np.squeeze(variance).reshape(biased.shape) * count / (count - 1)
    found = layer.moving_variance.numpy()
    # Keras corrects the variance where it has a fused operation for the axes.
    assert np.allclose(found, biased, rtol=1e-4) or np.allclose(found, corrected, rtol=1e-4)


def test_batch_norm_factory_passes_its_options():
    layer = BatchNormFactory(momentum=0.5, epsilon=0.25)("norm", initial_scale=0.1)
    layer(random(2, 3))
    assert (layer.momentum, layer.epsilon, layer.name) == (0.5, 0.25, "norm")
    close(layer.gamma, [0.1] * 3)


class TestDropPath:
    def test_is_the_identity_outside_training_or_when_everything_is_kept(self):
        x = random(3, 4, 5)
        for layer, training in (
            (DropPath(0.5), False),
            (DropPath(1.0), True),
            (DropPath(0.5), None),
        ):
            np.testing.assert_array_equal(layer(x, training=training), x)

    @pytest.mark.parametrize("keep_prob", [0.25, 0.8])
    def test_keeps_whole_examples_and_the_mean(self, keep_prob):
        tf.random.set_seed(0)
        x = 1.0 + np.abs(random(4000, 2, 3))
        y = DropPath(keep_prob)(x, training=True).numpy()
        factor = y / x
        kept = factor[:, 0, 0] > 0
        np.testing.assert_allclose(factor[kept], 1 / keep_prob, rtol=1e-5)
        assert (factor[~kept] == 0).all()
        assert kept.mean() == pytest.approx(keep_prob, abs=0.03)
        assert y.mean() == pytest.approx(x.mean(), rel=0.1)

    def test_draws_anew_in_each_call_of_a_function(self):
        tf.random.set_seed(0)
        layer = DropPath(0.5)
        drop = tf.function(lambda x: layer(x, training=True))
        x = tf.ones([64, 1])
        assert (drop(x).numpy() != drop(x).numpy()).any()


@pytest.mark.parametrize("size", [(9, 5), (5, 3), (17, 17), (3, 7), (2, 2)])
def test_resize_aligns_corners(size):
    x = random(2, 5, 3, 2)
    close(resize_bilinear(x, size), oracle.resize(x.astype(np.float64), *size), 1e-5)


def test_resize_leaves_what_fits_and_keeps_the_type():
    x = tf.constant(random(1, 5, 3, 2))
    assert resize_bilinear(x, (5, 3)) is x
    assert resize_bilinear(tf.cast(x, tf.bfloat16), (9, 5)).dtype == tf.bfloat16
