"""The shared building blocks against their oracles."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import (
    ACTIVATIONS,
    ConvBN,
    DenseBN,
    DropPath,
    LayerNorm,
    SeparableConvBN,
)
from tests.model.oracles import conv_bn, dense_bn, layer_norm, separable_conv_bn
from tests.model.weights import array, close, norm_of, precision, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_convolution(size, stride, dilation):
    x = random(2, 9, 5, 4)
    layer = randomized(ConvBN(3, NORM, size, stride, dilation, ops.gelu), x)
    close(layer(x), conv_bn(layer, x, oracle.gelu, stride, dilation))


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
    x = random(2, 6, 4, 2)
    layer = randomized(SeparableConvBN(3, 5, NORM), x)
    close(layer(x), separable_conv_bn(layer, x))


def test_dense():
    x = random(2, 5, 4)
    layer = randomized(DenseBN(3, NORM), x)
    close(layer(x), dense_bn(layer, x))


def test_activations_are_exact():
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    close(ACTIVATIONS["gelu"](x), oracle.gelu(x.astype(np.float64)), 1e-5)
    close(ACTIVATIONS["relu"](x), oracle.relu(x), 0)


def test_layer_norm():
    x = random(2, 3, 4, 32)
    layer = randomized(LayerNorm(), x)
    close(layer(x), layer_norm(layer, x))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (-1, (4, 3, 5)),
        (-1, (2, 4, 3, 5)),
        (1, (2, 5, 3, 3)),
        ((0, 2), (3, 4, 2, 5, 5)),
        ((1, 3), (4, 2, 5, 3)),
    ],
)
def test_batch_norm_in_training_normalizes_over_the_other_axes(axis, shape, compiled, unbiased):
    layer = with_defaults(BatchNormFactory, unbiased_moving_variance=unbiased)("norm", axis=axis)
    x = 3.0 * random(*shape) + 1.0
    randomized(layer, x)
    means, variances = norm_of(layer)[2:]
    kept = [a % len(shape) for a in np.atleast_1d(axis)]
    others = tuple(a for a in range(len(shape)) if a not in kept)
    mean, variance = oracle.batch_statistics(x.astype(np.float64), others)
    scale, offset = (array(part).reshape(mean.shape) for part in (layer.gamma, layer.beta))
    run = tf.function(layer) if compiled else layer
    close(run(x, training=True), oracle.normalize(x, (scale, offset, mean, variance)))

    def moved(old, new):
        return 0.99 * old + 0.01 * np.squeeze(new)

    assert layer.fused == (len(shape) == 4 and axis in (-1, 1))  # which is the fast one
    count = x.size / mean.size
    correction = count / (count - 1) if unbiased else 1.0
    _, _, new_mean, new_variance = norm_of(layer)
    np.testing.assert_allclose(new_mean, moved(means, mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new_variance, moved(variances, variance * correction), rtol=1e-6)


BATCH_NORM_INPUTS = {"fused": (2, 4, 3, 5), "unfused": (6, 3, 5)}


@pytest.mark.parametrize("unbiased", [False, True])
def test_statistics_of_a_single_value(unbiased):
    layer = with_defaults(BatchNormFactory, unbiased_moving_variance=unbiased)("norm")
    layer(random(1, 3), training=True)
    close(layer.moving_variance, [0.99] * 3, 1e-6)


@pytest.mark.parametrize("shape", BATCH_NORM_INPUTS.values(), ids=list(BATCH_NORM_INPUTS))
@pytest.mark.parametrize("case", ["inference", "frozen"])
def test_batch_norm_uses_and_keeps_its_moving_statistics(shape, case):
    x = 3.0 * random(*shape) + 1.0
    layer = randomized(NORM("norm"), x)
    layer.trainable = case != "frozen"
    before = [variable.numpy() for variable in layer.variables]
    expected = oracle.normalize(x.astype(np.float64), norm_of(layer))
    for training in [True, False, None] if case == "frozen" else [False, None]:
        close(layer(x, training=training), expected)
    for variable, old in zip(layer.variables, before):
        np.testing.assert_array_equal(variable, old)


@pytest.mark.parametrize("shape", BATCH_NORM_INPUTS.values(), ids=list(BATCH_NORM_INPUTS))
def test_batch_norm_keeps_its_statistics_in_float32_with_bfloat16_inputs(shape):
    x = tf.cast(3.0 * random(*shape) + 1.0, tf.bfloat16)
    with precision("mixed_bfloat16"):
        layer = randomized(NORM("norm"), x)
    means, variances = norm_of(layer)[2:]
    y = layer(x, training=True)
    assert y.dtype == tf.bfloat16
    assert layer.moving_variance.dtype == tf.float32
    values = tf.cast(x, tf.float64).numpy()
    mean, variance = oracle.batch_statistics(values, tuple(range(len(shape) - 1)))
    # The unfused one multiplies and adds in bfloat16.
    tolerance = 1e-6 if layer.fused else 1e-3
    _, _, new_mean, new_variance = norm_of(layer)
    np.testing.assert_allclose(
        new_mean, 0.99 * means + 0.01 * np.squeeze(mean), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(
        new_variance, 0.99 * variances + 0.01 * np.squeeze(variance), rtol=tolerance
    )


def test_moving_statistics_do_not_drift_when_nothing_changes():
    """The correction of the fused operation's variance is made from differences."""
    layer = NORM("norm")
    x = 100.0 * random(2, 5, 3, 2)
    for _ in range(2000):
        layer(x, training=True)
    mean, variance = oracle.batch_statistics(x.astype(np.float64), (0, 1, 2))
    np.testing.assert_allclose(layer.moving_mean, np.squeeze(mean), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, np.squeeze(variance), rtol=1e-4)


def test_batch_norm_factory_passes_its_options():
    layer = with_defaults(BatchNormFactory, momentum=0.5, epsilon=0.25)("norm", initial_scale=0.1)
    layer(random(2, 3))
    assert (layer.momentum, layer.epsilon, layer.name) == (0.5, 0.25, "norm")
    assert not layer.unbiased
    assert with_defaults(BatchNormFactory, unbiased_moving_variance=True)("norm").unbiased
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
