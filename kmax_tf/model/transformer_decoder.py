"""Transformer decoder: cluster centers refined by kMaX blocks (paper, section 3.2, figure 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.heads import HeadOptions, PredictionHeads
from kmax_tf.model.kmeans_attention import KMeansAttention
from kmax_tf.model.layers import (
    Affine,
    BatchNormFactory,
    ConvBN,
    DenseBN,
    DropPath,
    affine_of,
    gelu,
    static_or_dynamic_shape,
)
from kmax_tf.structures import Predictions


@dataclasses.dataclass(frozen=True)
class KMaXBlockOptions:
    """Sizes of a kMaX block.

    Attributes:
      channels: width of the cluster centers and of the block.
      key_channels: of the self-attention, over all heads.
      value_channels: of the self-attention, over all heads.
      num_heads: of the self-attention.
      ffn_channels: hidden width of the feed-forward network.
      drop_path_keep_prob: of each of the three branches.
    """

    channels: int = 256
    key_channels: int = 128
    value_channels: int = 256
    num_heads: int = 8
    ffn_channels: int = 2048
    drop_path_keep_prob: float = 0.8


class SelfAttention(keras.layers.Layer):
    """Self-attention among cluster centers. [B, N, C] -> update [B, N, channels].

    Batch normalization of the logits, per head, stands in for the usual scaling.
    """

    def __init__(
        self, options: KMaXBlockOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(name=name)
        self.options = options
        self.qkv_projection = DenseBN(
            2 * options.key_channels + options.value_channels,
            batch_norm,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=options.channels**-0.5),
            name="qkv_projection",
        )
        self.batch_norm_similarity = batch_norm("batch_norm_similarity", axis=1)
        self.batch_norm_value = batch_norm("batch_norm_value", axis=(1, 3))
        self.output_projection = DenseBN(
            options.channels, batch_norm, initial_scale=0.0, name="output_projection"
        )

    def call(self, centers: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Lets the centers look at each other."""
        options = self.options
        batch, count, _ = static_or_dynamic_shape(centers)
        qkv = self.qkv_projection(centers, training=training)
        widths = [options.key_channels, options.key_channels, options.value_channels]
        heads = options.num_heads
        query, key, value = (
            tf.transpose(
                tf.reshape(part, [batch, count, heads, width // heads]), [0, 2, 1, 3]
            )  # [B, heads, N, d]
            for part, width in zip(tf.split(qkv, widths, axis=-1), widths)
        )
        similarity = tf.matmul(query, key, transpose_b=True)  # [B, heads, N, N]
        similarity = self.batch_norm_similarity(similarity, training=training)
        weights = tf.nn.softmax(tf.cast(similarity, tf.float32))
        retrieved = tf.matmul(tf.cast(weights, value.dtype), value)  # [B, heads, N, d]
        retrieved = gelu(self.batch_norm_value(retrieved, training=training))
        retrieved = tf.transpose(retrieved, [0, 2, 1, 3])  # [B, N, heads, d]
        retrieved = tf.reshape(retrieved, [batch, count, options.value_channels])
        return self.output_projection(retrieved, training=training)

    def fold(self) -> None:
        """Makes the remaining normalizations factors and offsets, for inference."""
        scale, offset = affine_of(self.batch_norm_similarity)
        # An offset common to all logits of a head does nothing to their softmax.
        self.batch_norm_similarity = Affine(
            scale[:, np.newaxis, np.newaxis], name=self.batch_norm_similarity.name
        )
        scale, offset = affine_of(self.batch_norm_value)
        self.batch_norm_value = Affine(scale, offset, name=self.batch_norm_value.name)


class KMaXBlock(keras.layers.Layer):
    """Predicts with the centers as they come, then refines them.

    (centers [B, N, C], pixel features [B, H, W, C']) -> (refined centers, the prediction). The
    prediction's mask logits are the very ones that assign pixels to centers. Self-attention
    reads the centers from before the k-means update: both updates are added side by side.
    """

    def __init__(
        self,
        options: KMaXBlockOptions,
        head_options: HeadOptions,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        channels = options.channels
        self.center_projection = DenseBN(
            channels, batch_norm, activation=gelu, name="center_projection"
        )
        self.pixel_projection = ConvBN(
            channels, batch_norm, activation=gelu, name="pixel_projection"
        )
        self.heads = PredictionHeads(head_options, batch_norm, name="heads")
        self.kmeans_attention = KMeansAttention(channels, batch_norm, name="kmeans_attention")
        self.self_attention = SelfAttention(options, batch_norm, name="self_attention")
        self.ffn_hidden = DenseBN(
            options.ffn_channels, batch_norm, activation=gelu, name="ffn_hidden"
        )
        self.ffn_output = DenseBN(channels, batch_norm, initial_scale=0.0, name="ffn_output")
        self.drop_paths = [
            DropPath(options.drop_path_keep_prob, name=f"drop_path_{branch}")
            for branch in ("kmeans", "self_attention", "ffn")
        ]

    def call(
        self, centers: tf.Tensor, pixel_features: tf.Tensor, training: Optional[bool] = None
    ) -> tuple[tf.Tensor, Predictions]:
        """Runs one iteration of k-means and its transformer block."""
        drop_kmeans, drop_attention, drop_ffn = self.drop_paths
        projected = self.center_projection(centers, training=training)
        pixels = self.pixel_projection(gelu(pixel_features), training=training)

        prediction = self.heads(pixels, projected, projected, training=training)
        update = self.kmeans_attention(prediction["mask_logits"], pixels, training=training)
        centers = centers + drop_kmeans(update, training=training)
        update = self.self_attention(projected, training=training)
        centers = gelu(centers + drop_attention(update, training=training))

        update = self.ffn_output(self.ffn_hidden(centers, training=training), training=training)
        return gelu(centers + drop_ffn(update, training=training)), prediction


class TransformerDecoder(keras.layers.Layer):
    """kMaX blocks over pixel features from coarse to fine.

    {stride: [B, H/s, W/s, C]} -> (class embeddings [B, N, C], mask embeddings [B, N, C], one
    prediction a block). The prediction of block i is made from the centers entering it.
    """

    def __init__(
        self,
        num_centers: int,
        block_strides: Sequence[int],
        block_options: KMaXBlockOptions,
        head_options: HeadOptions,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.num_centers = num_centers
        self.block_strides = tuple(block_strides)
        self.channels = block_options.channels
        self.blocks = [
            KMaXBlock(block_options, head_options, batch_norm, name=f"block{i + 1}")
            for i in range(len(self.block_strides))
        ]
        self.class_projection, self.mask_projection = (
            DenseBN(self.channels, batch_norm, activation=gelu, name=f"{target}_projection")
            for target in ("class", "mask")
        )

    def build(self, input_shape: dict[int, tf.TensorShape]) -> None:
        """Creates the learned cluster centers."""
        self.cluster_centers = self.add_weight(
            name="cluster_centers",
            shape=[1, self.num_centers, self.channels],
            initializer=keras.initializers.TruncatedNormal(stddev=1.0),
        )
        super().build(input_shape)

    def call(
        self, pixel_features: dict[int, tf.Tensor], training: Optional[bool] = None
    ) -> tuple[tf.Tensor, tf.Tensor, list[Predictions]]:
        """Refines the cluster centers block by block."""
        batch = tf.shape(pixel_features[self.block_strides[0]])[0]
        centers = tf.tile(tf.cast(self.cluster_centers, self.compute_dtype), [batch, 1, 1])
        intermediate = []
        for stride, block in zip(self.block_strides, self.blocks):
            centers, prediction = block(centers, pixel_features[stride], training=training)
            intermediate.append(prediction)
        class_embeddings = self.class_projection(centers, training=training)
        mask_embeddings = self.mask_projection(centers, training=training)
        return class_embeddings, mask_embeddings, intermediate
