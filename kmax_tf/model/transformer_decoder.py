"""Transformer decoder: cluster centers refined by kMaX blocks (paper, section 3.2, figure 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.attention import AttentionOptions, SelfAttention, SoftmaxAttention
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.heads import HeadOptions, PredictionHeads
from kmax_tf.model.kmeans_attention import KMeansAttention
from kmax_tf.model.layers import ConvBN, DenseBN, DropPath
from kmax_tf.structures import Predictions


@dataclasses.dataclass(frozen=True)
class KMaXBlockOptions(AttentionOptions):
    """Sizes of a kMaX block, and those of its self-attention.

    Attributes:
      ffn_channels: hidden width of the feed-forward network.
      drop_path_keep_prob: of each of the three branches.
      cross_attention: KMEANS, or SOFTMAX: the centers are updated by a softmax over pixels, with as
        many heads and channels as the self-attention.
    """

    ffn_channels: int
    drop_path_keep_prob: float
    cross_attention: str


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
            channels, batch_norm, activation=ops.gelu, name="center_projection"
        )
        self.pixel_projection = ConvBN(
            channels, batch_norm, activation=ops.gelu, name="pixel_projection"
        )
        self.heads = PredictionHeads(head_options, batch_norm, name="heads")
        self.cross_attention = (
            SoftmaxAttention(options, batch_norm, name="cross_attention")
            if options.cross_attention == "SOFTMAX"
            else KMeansAttention(channels, batch_norm, name="cross_attention")
        )
        self.self_attention = SelfAttention(options, batch_norm, name="self_attention")
        self.ffn_hidden = DenseBN(
            options.ffn_channels, batch_norm, activation=ops.gelu, name="ffn_hidden"
        )
        self.ffn_output = DenseBN(channels, batch_norm, initial_scale=0.0, name="ffn_output")
        self.drop_paths = [
            DropPath(options.drop_path_keep_prob, name=f"drop_path_{branch}")
            for branch in ("cross_attention", "self_attention", "ffn")
        ]

    def call(
        self, centers: tf.Tensor, pixel_features: tf.Tensor, training: Optional[bool] = None
    ) -> tuple[tf.Tensor, Predictions]:
        """Runs one iteration of k-means and its transformer block."""
        drop_cross, drop_self, drop_ffn = self.drop_paths
        projected = self.center_projection(centers, training=training)
        pixels = self.pixel_projection(ops.gelu(pixel_features), training=training)

        prediction = self.heads(pixels, projected, projected, training=training)
        mask_logits = prediction["mask_logits"]
        update = self.cross_attention(projected, pixels, mask_logits, training=training)
        centers = centers + drop_cross(update, training=training)
        update = self.self_attention(projected, training=training)
        centers = ops.gelu(centers + drop_self(update, training=training))

        update = self.ffn_output(self.ffn_hidden(centers, training=training), training=training)
        centers = ops.gelu(centers + drop_ffn(update, training=training))
        return centers, prediction


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
            DenseBN(self.channels, batch_norm, activation=ops.gelu, name=f"{target}_projection")
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
