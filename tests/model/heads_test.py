"""The prediction heads against their oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import ClassHead, HeadOptions, MaskHead, PixelHead, PredictionHeads
from tests.model.weights import array, norm_of, random, randomize
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
OPTIONS = with_defaults(HeadOptions, num_classes=3, kernel_size=5, channels=6, embedding_channels=4)


def test_pixel_head_equals_the_oracle():
    layer = PixelHead(OPTIONS, NORM)
    x = random(2, 5, 4, 3)
    layer(x)
    randomize(layer)
    conv = layer.separable_conv
    y = oracle.convolve_depthwise(x.astype(np.float64), array(conv.depthwise.conv.depthwise_kernel))
    y = oracle.gelu(oracle.normalize(y, norm_of(conv.depthwise.batch_norm)))
    y = y @ array(conv.pointwise.conv.kernel)[0, 0]
    y = oracle.gelu(oracle.normalize(y, norm_of(conv.pointwise.batch_norm)))
    y = y @ array(layer.last_conv.kernel)[0, 0] + array(layer.last_conv.bias)
    y = oracle.normalize(y, norm_of(layer.batch_norm))
    expected = y / np.linalg.norm(y, axis=-1, keepdims=True)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_mask_head_equals_the_oracle():
    layer = MaskHead(OPTIONS, NORM)
    pixels, centers = random(2, 3, 5, 4), random(2, 6, 8, seed=1)
    layer(pixels, centers)
    randomize(layer)
    projection = layer.projection
    kernels = centers.astype(np.float64) @ array(projection.dense.kernel)
    kernels = oracle.normalize(kernels, norm_of(projection.batch_norm))
    expected = np.zeros([2, 3, 5, 6])
    for image, row, column, center in np.ndindex(*expected.shape):
        expected[image, row, column, center] = pixels[image, row, column] @ kernels[image, center]
    assert layer.batch_norm.gamma.shape == [1]  # one for all logits
    expected = oracle.normalize(expected, norm_of(layer.batch_norm))
    np.testing.assert_allclose(layer(pixels, centers), expected, rtol=1e-4, atol=1e-5)


def test_mask_logits_start_small():
    layer = MaskHead(OPTIONS, NORM)
    logits = layer(random(2, 9, 9, 4), random(2, 6, 8), training=True)
    assert float(np.std(logits)) == pytest.approx(0.1, rel=0.01)


def test_class_head_adds_the_prior_of_void():
    layer = ClassHead(OPTIONS)
    centers = random(2, 6, 8)
    layer(centers)
    randomize(layer)
    expected = centers.astype(np.float64) @ array(layer.dense.kernel) + array(layer.dense.bias)
    expected[..., -1] += math.log(3 * 0.9 / 0.1)
    np.testing.assert_allclose(layer(centers), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior", [0.5, 0.9])
def test_an_untrained_center_says_void_with_its_prior(prior):
    layer = ClassHead(with_defaults(HeadOptions, num_classes=133, void_prior=prior))
    logits = layer(np.zeros([1, 2, 8], np.float32)).numpy()
    np.testing.assert_allclose(oracle.softmax(logits)[..., -1], prior, rtol=1e-5)
    if prior == 0.9:
        assert logits[0, 0, -1] == pytest.approx(7.0876, abs=1e-4)


def test_heads_read_what_is_theirs():
    layer = PredictionHeads(OPTIONS, NORM)
    pixels, classes, masks = random(2, 3, 5, 4), random(2, 6, 8, seed=1), random(2, 6, 8, seed=2)
    layer(pixels, classes, masks)
    randomize(layer)
    prediction = layer(pixels, classes, masks)
    embeddings = layer.pixel_head(pixels)
    np.testing.assert_allclose(prediction["pixel_embeddings"], embeddings, rtol=1e-5)
    np.testing.assert_allclose(
        prediction["mask_logits"], layer.mask_head(embeddings, masks), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(prediction["class_logits"], layer.class_head(classes), rtol=1e-5)
    norms = np.linalg.norm(prediction["pixel_embeddings"], axis=-1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)
