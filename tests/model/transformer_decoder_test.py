"""Self-attention and the kMaX block against their oracles."""

from __future__ import annotations

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
from tests.model.kmeans_attention_test import kmeans_attention
from tests.model.oracles import conv_bn, dense_bn
from tests.model.weights import close, random, randomized
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
CENTERS, FEATURES = random(2, 5, 8), random(2, 4, 3, 7, seed=1)


def kmax_block(block, centers, features, mask_logits):
    """The published order: both updates read the centers as they come."""
    projected = dense_bn(block.center_projection, centers, oracle.gelu)
    pixels = conv_bn(block.pixel_projection, oracle.gelu(features), oracle.gelu)
    update = kmeans_attention(block.cross_attention, pixels, mask_logits)
    centers = oracle.gelu(centers + update + self_attention(block.self_attention, projected))
    hidden = dense_bn(block.ffn_hidden, centers, oracle.gelu)
    return oracle.gelu(centers + dense_bn(block.ffn_output, hidden))


@pytest.fixture
def block():
    return randomized(KMaXBlock(OPTIONS, HEADS, NORM), CENTERS, FEATURES)


def test_block_equals_the_oracle(block):
    refined, prediction = block(CENTERS, FEATURES)
    close(refined, kmax_block(block, CENTERS, FEATURES, prediction["mask_logits"].numpy()), 1e-3)


def test_prediction_is_made_of_the_centers_as_they_come(block):
    _, prediction = block(CENTERS, FEATURES)
    projected = block.center_projection(CENTERS)
    expected = block.heads(block.pixel_projection(oracle.gelu(FEATURES)), projected, projected)
    for key, value in expected.items():
        close(prediction[key], value, name=key)


def test_each_branch_drops_its_path_by_itself(block):
    assert [layer.keep_prob for layer in block.drop_paths] == [0.5] * 3
    assert len({layer.name for layer in block.drop_paths}) == 3


def test_a_fresh_block_only_activates():
    """All three branches end in a normalization whose scale is zero."""
    refined, _ = KMaXBlock(OPTIONS, HEADS, NORM)(CENTERS, FEATURES, training=True)
    close(refined, oracle.gelu(oracle.gelu(CENTERS)))


def test_decoder_runs_its_blocks_over_the_strides_they_name():
    features = {32: random(2, 2, 3, 6), 16: random(2, 3, 5, 4, seed=1)}
    decoder = randomized(TransformerDecoder(5, [32, 16, 16], OPTIONS, HEADS, NORM), features)
    class_embeddings, mask_embeddings, intermediate = decoder(features)
    centers = tf.tile(decoder.cluster_centers, [2, 1, 1])
    for stride, layer, prediction in zip((32, 16, 16), decoder.blocks, intermediate):
        centers, expected = layer(centers, features[stride])
        close(prediction["mask_logits"], expected["mask_logits"])
    close(class_embeddings, decoder.class_projection(centers), 1e-5)
    close(mask_embeddings, decoder.mask_projection(centers), 1e-5)


def test_centers_start_with_unit_deviation():
    decoder = TransformerDecoder(500, [32], OPTIONS, HEADS, NORM)
    decoder({32: random(1, 2, 2, 4)})
    assert decoder.cluster_centers.shape == [1, 500, 8]
    assert float(tf.math.reduce_std(decoder.cluster_centers)) == pytest.approx(1.0, abs=0.15)
