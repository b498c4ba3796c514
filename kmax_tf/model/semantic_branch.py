"""Auxiliary semantic branch: a training signal only (Panoptic-DeepLab, arXiv 1911.10194)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.convolutions import Convolution
from kmax_tf.model.heads import last_layer_initializer
from kmax_tf.model.layers import (
    ActivationFn,
    ConvBN,
    SeparableConvBN,
)
from kmax_tf.ops.resizing import resize_bilinear, spatial_size


class AtrousSpatialPyramidPooling(keras.layers.Layer):
    """Convolutions at several rates and image pooling. [B, H, W, C] -> [B, H, W, channels]."""

    def __init__(
        self,
        channels: int,
        atrous_rates: Sequence[int],
        dropout: float,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.pointwise = ConvBN(channels, batch_norm, activation=ops.gelu, name="pointwise")
        self.atrous = [
            ConvBN(
                channels,
                batch_norm,
                kernel_size=3,
                dilation=rate,
                activation=ops.gelu,
                name=f"rate{rate}",
            )
            for rate in atrous_rates
        ]
        self.pooling = ConvBN(channels, batch_norm, activation=ops.gelu, name="pooling")
        self.projection = ConvBN(channels, batch_norm, activation=ops.gelu, name="projection")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Concatenates all and projects."""
        pooled = tf.cast(tf.reduce_mean(tf.cast(x, tf.float32), [1, 2], keepdims=True), x.dtype)
        pooled = self.pooling(pooled, training=training)  # [B, 1, 1, channels]
        parts = [self.pointwise(x, training=training)]
        parts += [conv(x, training=training) for conv in self.atrous]
        parts.append(tf.broadcast_to(pooled, tf.shape(parts[0])))
        x = self.projection(tf.concat(parts, axis=-1), training=training)
        return self.dropout(x, training=training)


class SemanticHead(keras.layers.Layer):
    """Semantic logits in float32, on the stride-32 feature or on what a decoder makes of it.

    {stride: [B, H/s, W/s, C]} -> [B, H/32, W/32, num_ids].
    """

    def __init__(
        self,
        num_ids: int,
        channels: int,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.separable_conv = SeparableConvBN(channels, 5, batch_norm, name="separable_conv")
        self.last_conv = Convolution(
            num_ids,
            1,
            use_bias=True,
            kernel_initializer=last_layer_initializer(),
            name="last_conv",
        )

    def call(self, features: dict[int, tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Classifies each pixel of the coarsest feature."""
        return self.classify(features[32], training)

    def classify(self, x: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Classifies each pixel of [B, H, W, C]."""
        x = self.separable_conv(x, training=training)
        return tf.cast(self.last_conv(x), tf.float32)


class SemanticDecoder(SemanticHead):
    """The same head after an ASPP on the stride-32 feature and skips to finer ones.

    {stride: [B, H/s, W/s, C]} -> [B, H/s, W/s, num_ids] at the stride of the last skip.
    """

    def __init__(
        self,
        num_ids: int,
        channels: int,
        aspp: AtrousSpatialPyramidPooling,
        low_levels: Sequence[tuple[int, int]],
        activation: ActivationFn,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        """Makes the decoder.

        Args:
          num_ids: semantic ids.
          channels: width of the fusions and of the head.
          aspp: the pyramid on the stride-32 feature.
          low_levels: (stride, channels that the feature is projected to) of each skip.
          activation: the backbone's, applied to its features before a skip.
          batch_norm: makes batch normalizations.
          name: of the layer.
        """
        super().__init__(num_ids, channels, batch_norm, name=name)
        self.aspp = aspp
        self.activation = activation
        self.low_level_strides = [stride for stride, _ in low_levels]
        self.low_level_projections = [
            ConvBN(width, batch_norm, activation=ops.gelu, name=f"low_level_stride{stride}")
            for stride, width in low_levels
        ]
        self.fusions = [
            SeparableConvBN(channels, 5, batch_norm, name=f"fusion_stride{stride}")
            for stride in self.low_level_strides
        ]

    def call(self, features: dict[int, tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Decodes and classifies each pixel of the finest skip."""
        x = self.aspp(features[32], training=training)
        for stride, projection, fusion in zip(
            self.low_level_strides, self.low_level_projections, self.fusions
        ):
            low_level = self.activation(features[stride])
            low_level = projection(low_level, training=training)
            x = resize_bilinear(x, spatial_size(low_level))
            x = fusion(tf.concat([x, low_level], axis=-1), training=training)
        return self.classify(x, training)
