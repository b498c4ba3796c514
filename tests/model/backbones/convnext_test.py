"""ConvNeXt: its layers against their oracles, strides, drop path."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.backbones.convnext import ConvNeXt, ConvNeXtBlock, Downsample
from tests.model.oracles import dense, layer_norm
from tests.model.weights import array, close, random, randomized
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle


def downsample(layer, x):
    """Patches in the size of the stride; zeros where a patch is not whole."""
    conv, norm = layer.conv, layer.norm
    if layer.stem:
        x = np.pad(x, [(0, 0), (1, 2), (1, 2), (0, 0)])
        return layer_norm(norm, oracle.convolve_patches(x, array(conv.kernel)) + array(conv.bias))
    normalized = np.empty([x.shape[0], x.shape[1] + 1, x.shape[2] + 1, x.shape[3]])
    normalized[:] = array(norm.beta)  # what the normalization makes of zeros
    normalized[:, :-1, :-1] = layer_norm(norm, x)
    return oracle.convolve_patches(normalized, array(conv.kernel)) + array(conv.bias)


def block(layer, x):
    conv = layer.depthwise_conv
    y = oracle.convolve_depthwise(x, array(conv.depthwise_kernel)) + array(conv.bias)
    y = layer_norm(layer.norm, y)
    y = dense(layer.projection, oracle.gelu(dense(layer.expansion, y)))
    return x + y * array(layer.layer_scale)


def small(**options):
    return with_defaults(ConvNeXt, blocks=[1, 2, 3, 1], channels=[3, 4, 5, 6], **options)


@pytest.mark.parametrize(("stem", "size"), [(True, (9, 13)), (True, (5, 5)), (False, (9, 5))])
def test_downsample_equals_the_oracle(stem, size):
    x = random(2, *size, 3)
    layer = randomized(Downsample(4, stem=stem), x)
    expected = downsample(layer, x)
    assert expected.shape[1:3] == tuple((side - 1) // (4 if stem else 2) + 1 for side in size)
    close(layer(x), expected)


def test_block_equals_the_oracle():
    x = random(2, 9, 5, 3)
    layer = randomized(ConvNeXtBlock(3, layer_scale=1e-6, drop_path_keep_prob=1.0), x)
    close(layer(x), block(layer, x))


def test_a_fresh_block_adds_very_little():
    layer = ConvNeXtBlock(3, layer_scale=1e-6, drop_path_keep_prob=1.0)
    x = random(2, 9, 5, 3)
    np.testing.assert_allclose(layer(x, training=True), x, atol=1e-5)
    np.testing.assert_allclose(layer.layer_scale, [1e-6] * 3)


def test_drop_path_is_on_the_branch_only():
    x = random(2, 9, 5, 3)
    layer = randomized(ConvNeXtBlock(3, layer_scale=1.0, drop_path_keep_prob=1e-9), x)
    np.testing.assert_array_equal(layer(x, training=True), x)
    assert np.abs(layer(x) - x).max() > 0.1


def test_features_equal_the_oracle():
    x = y = random(1, 33, 65, 3)
    backbone = randomized(small(), x)
    features = backbone(x)
    assert list(features) == [2, 4, 8, 16, 32]
    for stride, layer, stage in zip((4, 8, 16, 32), backbone.downsamples, backbone.stages):
        y = downsample(layer, y)
        if stride == 4:
            close(features[2], y)  # there is nothing finer than the stem
        for part in stage.blocks:
            y = block(part, y)
        np.testing.assert_allclose(features[stride], y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dynamic", [False, True])
def test_stem_resized_to_stride_2(dynamic):
    x = random(1, 33, 65, 3)
    backbone = randomized(small(stem_to_stride_2=True), x)
    shape = [None, None, None, 3] if dynamic else x.shape
    features = tf.function(backbone, input_signature=[tf.TensorSpec(shape)])(x)
    stem = backbone.downsamples[0](x).numpy()
    assert stem.shape == (1, 9, 17, 3)
    close(features[2], oracle.resize(stem, 17, 33))
    assert features[4].shape == [1, 9, 17, 3]


@pytest.mark.parametrize("last", [0.8, 0.3, 1.0])
def test_drop_path_falls_linearly_from_block_to_block(last):
    backbone = small(drop_path_keep_prob=last)
    probs = [b.drop_path.keep_prob for stage in backbone.stages for b in stage.blocks]
    assert probs == pytest.approx([1.0 - (1.0 - last) * i / 6 for i in range(7)])
