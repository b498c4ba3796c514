"""Self-attention and the kMaX block against their oracles."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import HeadOptions
from kmax_tf.model.transformer_decoder import (
    KMaXBlock,
    KMaXBlockOptions,
    TransformerDecoder,
)
from tests.model.attention_test import self_attention
from tests.model.weights import array, norm_of, random, randomize
from tests.options import with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
OPTIONS = with_defaults(
    KMaXBlockOptions,
    channels=8,
    key_channels=4,
    value_channels=8,
    num_heads=2,
    ffn_channels=12,
    drop_path_keep_prob=0.5,
)
HEADS = with_defaults(HeadOptions, num_classes=3, kernel_size=3, channels=6, embedding_channels=4)


def dense_bn(layer, x, activation=None):
    """Applies a DenseBN or a 1x1 ConvBN."""
    kernel = array(layer.dense.kernel if hasattr(layer, "dense") else layer.conv.kernel[0, 0])
    y = oracle.normalize(x @ kernel, norm_of(layer.batch_norm))
    return y if activation is None else activation(y)


def kmax_block(block, centers, features, mask_logits):
    """The published order: both updates read the centers as they come."""
    projected = dense_bn(block.center_projection, centers, oracle.gelu)
    pixels = dense_bn(block.pixel_projection, oracle.gelu(features), oracle.gelu)
    attention = block.cross_attention
    values = dense_bn(attention.value_projection, pixels.reshape(len(pixels), -1, pixels.shape[-1]))
    _, sums = oracle.assign_and_sum(
        mask_logits.reshape(len(pixels), -1, mask_logits.shape[-1]), values
    )
    update = dense_bn(
        attention.output_projection, oracle.normalize(sums, norm_of(attention.batch_norm))
    )
    centers = oracle.gelu(centers + update + self_attention(block.self_attention, projected))
    hidden = dense_bn(block.ffn_hidden, centers, oracle.gelu)
    return oracle.gelu(centers + dense_bn(block.ffn_output, hidden))


@pytest.fixture
def block():
    layer = KMaXBlock(OPTIONS, HEADS, NORM)
    layer(random(2, 5, 8), random(2, 4, 3, 7))
    randomize(layer)
    return layer


def test_block_equals_the_oracle(block):
    centers, features = random(2, 5, 8), random(2, 4, 3, 7, seed=1)
    refined, prediction = block(centers, features)
    expected = kmax_block(
        block,
        centers.astype(np.float64),
        features.astype(np.float64),
        prediction["mask_logits"].numpy(),
    )
    np.testing.assert_allclose(refined, expected, rtol=1e-3, atol=1e-4)


def test_prediction_is_made_of_the_centers_as_they_come(block):
    centers, features = random(2, 5, 8), random(2, 4, 3, 7, seed=1)
    _, prediction = block(centers, features)
    projected = block.center_projection(centers)
    pixels = block.pixel_projection(oracle.gelu(features).astype(np.float32))
    expected = block.heads(pixels, projected, projected)
    for key, value in expected.items():
        np.testing.assert_allclose(prediction[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def test_each_branch_drops_its_path_by_itself(block):
    assert [layer.keep_prob for layer in block.drop_paths] == [0.5] * 3
    assert len({layer.name for layer in block.drop_paths}) == 3


def test_a_fresh_block_only_activates():
    """All three branches end in a normalization whose scale is zero."""
    layer = KMaXBlock(OPTIONS, HEADS, NORM)
    centers = random(2, 5, 8)
    refined, _ = layer(centers, random(2, 4, 3, 7), training=True)
    expected = oracle.gelu(oracle.gelu(centers.astype(np.float64)))
    np.testing.assert_allclose(refined, expected, rtol=1e-4, atol=1e-5)


def test_decoder_runs_its_blocks_over_the_strides_they_name():
    decoder = TransformerDecoder(5, [32, 16, 16], OPTIONS, HEADS, NORM)
    features = {32: random(2, 2, 3, 6), 16: random(2, 3, 5, 4, seed=1)}
    decoder(features)
    randomize(decoder)
    class_embeddings, mask_embeddings, intermediate = decoder(features)
    assert [p["mask_logits"].shape.as_list() for p in intermediate] == [
        [2, 2, 3, 5],
        [2, 3, 5, 5],
        [2, 3, 5, 5],
    ]
    centers = tf.tile(decoder.cluster_centers, [2, 1, 1])
    for stride, layer in zip((32, 16, 16), decoder.blocks):
        centers, _ = layer(centers, features[stride])
    np.testing.assert_allclose(class_embeddings, decoder.class_projection(centers), rtol=1e-5)
    np.testing.assert_allclose(mask_embeddings, decoder.mask_projection(centers), rtol=1e-5)


def test_centers_start_with_unit_deviation():
    decoder = TransformerDecoder(500, [32], OPTIONS, HEADS, NORM)
    decoder({32: random(1, 2, 2, 4)})
    assert decoder.cluster_centers.shape == [1, 500, 8]
    assert float(tf.math.reduce_std(decoder.cluster_centers)) == pytest.approx(1.0, abs=0.15)
