"""The prediction heads against their oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import ClassHead, HeadOptions, MaskHead, PixelHead, PredictionHeads
from tests.model.oracles import dense, dense_bn, separable_conv_bn
from tests.model.weights import close, norm_of, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
OPTIONS = with_defaults(HeadOptions, num_classes=3, kernel_size=5, channels=6, embedding_channels=4)


def test_pixel_head_equals_the_oracle():
    x = random(2, 5, 4, 3)
    layer = randomized(PixelHead(OPTIONS, NORM), x)
    y = dense(layer.last_conv, separable_conv_bn(layer.separable_conv, x))
    y = oracle.normalize(y, norm_of(layer.batch_norm))
    close(layer(x), y / np.linalg.norm(y, axis=-1, keepdims=True))


def test_mask_head_equals_the_oracle():
    pixels, centers = random(2, 3, 5, 4), random(2, 6, 8, seed=1)
    layer = randomized(MaskHead(OPTIONS, NORM), pixels, centers)
    kernels = dense_bn(layer.projection, centers)
    expected = np.zeros([2, 3, 5, 6])
    for image, row, column, center in np.ndindex(*expected.shape):
        expected[image, row, column, center] = pixels[image, row, column] @ kernels[image, center]
    assert layer.batch_norm.gamma.shape == [1]  # one for all logits
    close(layer(pixels, centers), oracle.normalize(expected, norm_of(layer.batch_norm)))


def test_mask_logits_start_small():
    layer = MaskHead(OPTIONS, NORM)
    logits = layer(random(2, 9, 9, 4), random(2, 6, 8), training=True)
    assert float(np.std(logits)) == pytest.approx(0.1, rel=0.01)


def test_class_head_adds_the_prior_of_void():
    centers = random(2, 6, 8)
    layer = randomized(ClassHead(OPTIONS), centers)
    expected = dense(layer.dense, centers)
    expected[..., -1] += math.log(3 * 0.9 / 0.1)
    close(layer(centers), expected)


@pytest.mark.parametrize("prior", [0.5, 0.9])
def test_an_untrained_center_says_void_with_its_prior(prior):
    layer = ClassHead(with_defaults(HeadOptions, num_classes=133, void_prior=prior))
    logits = layer(np.zeros([1, 2, 8], np.float32)).numpy()
    np.testing.assert_allclose(oracle.softmax(logits)[..., -1], prior, rtol=1e-5)


def test_heads_read_what_is_theirs():
    inputs = random(2, 3, 5, 4), random(2, 6, 8, seed=1), random(2, 6, 8, seed=2)
    layer = randomized(PredictionHeads(OPTIONS, NORM), *inputs)
    prediction = layer(*inputs)
    pixels, classes, masks = inputs
    embeddings = layer.pixel_head(pixels)
    close(prediction["pixel_embeddings"], embeddings, 1e-5)
    close(prediction["mask_logits"], layer.mask_head(embeddings, masks))
    close(prediction["class_logits"], layer.class_head(classes), 1e-5)
