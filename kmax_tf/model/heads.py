"""Prediction heads: pixel features and cluster centers -> masks and classes."""

from __future__ import annotations

import dataclasses
import math
from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.convolutions import Convolution
from kmax_tf.model.layers import Affine, DenseBN, SeparableConvBN, affine_of
from kmax_tf.structures import Predictions


def last_layer_initializer() -> keras.initializers.Initializer:
    """Returns the initializer of a layer that makes logits or embeddings (a new one each time)."""
    return keras.initializers.TruncatedNormal(stddev=0.01)


@dataclasses.dataclass(frozen=True)
class HeadOptions:
    """Sizes of the heads; the final and all intermediate predictions share them.

    Attributes:
      num_classes: K, without void.
      kernel_size: of the separable convolution over pixel features.
      channels: its width.
      embedding_channels: D.
      void_prior: probability that an untrained center says void.
      mask_logit_scale: initial scale of the mask logits.
    """

    num_classes: int
    kernel_size: int
    channels: int
    embedding_channels: int
    void_prior: float
    mask_logit_scale: float


class PixelHead(keras.layers.Layer):
    """Pixel embeddings of unit length, in float32. [B, H, W, C] -> [B, H, W, D]."""

    def __init__(
        self, options: HeadOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(name=name)
        self.separable_conv = SeparableConvBN(
            options.channels, options.kernel_size, batch_norm, name="separable_conv"
        )
        self.last_conv = Convolution(
            options.embedding_channels,
            1,
            use_bias=True,
            kernel_initializer=last_layer_initializer(),
            name="last_conv",
        )
        self.batch_norm = batch_norm("batch_norm")

    def call(self, pixel_features: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Embeds each pixel."""
        x = self.separable_conv(pixel_features, training=training)
        x = self.last_conv(x)
        x = self.batch_norm(x, training=training)
        return tf.math.l2_normalize(tf.cast(x, tf.float32), axis=-1)

    def fold(self) -> None:
        """Folds the normalization into the last convolution, for inference."""
        scale, offset = affine_of(self.batch_norm)
        self.last_conv.kernel.assign(self.last_conv.kernel.numpy() * scale)
        self.last_conv.bias.assign(self.last_conv.bias.numpy() * scale + offset)
        self.batch_norm = Affine(name=self.batch_norm.name)


class MaskHead(keras.layers.Layer):
    """Similarity of every pixel to every center, in float32.

    ([B, H, W, D] pixel embeddings, [B, N, C] centers) -> mask logits [B, H, W, N]. One scale and
    one offset normalize all logits together.
    """

    def __init__(
        self, options: HeadOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(name=name)
        self.projection = DenseBN(options.embedding_channels, batch_norm, name="projection")
        self.batch_norm = batch_norm(
            "batch_norm", initial_scale=options.mask_logit_scale, dtype="float32"
        )

    def call(
        self, pixel_embeddings: tf.Tensor, centers: tf.Tensor, training: Optional[bool] = None
    ) -> tf.Tensor:
        """Compares pixels with centers."""
        mask_embeddings = self.projection(centers, training=training)  # [B, N, D]
        pixels = tf.cast(pixel_embeddings, mask_embeddings.dtype)
        batch, height, width, _ = ops.static_or_dynamic_shape(pixels)
        logits = tf.einsum("bhwd,bnd->bhwn", pixels, mask_embeddings)
        flat = tf.reshape(tf.cast(logits, tf.float32), [batch, -1, 1])
        flat = tf.cast(self.batch_norm(flat, training=training), tf.float32)
        return tf.reshape(flat, [batch, height, width, centers.shape[1]])  # [B, H, W, N]

    def fold(self) -> None:
        """Folds the factor of all logits into the projection, which is folded already."""
        scale, offset = affine_of(self.batch_norm)
        kernel, bias = self.projection.dense.kernel, self.projection.batch_norm.offset
        kernel.assign(kernel.numpy() * scale)
        bias.assign(bias.numpy() * scale)
        self.batch_norm = Affine(offset=offset, name=self.batch_norm.name)


class ClassHead(keras.layers.Layer):
    """Class logits of each center, in float32. [B, N, C] -> [B, N, K+1]; the last is void.

    A constant added to the void logit (not part of the bias) gives void its prior probability.
    """

    def __init__(self, options: HeadOptions, name: Optional[str] = None):
        super().__init__(name=name)
        self.dense = keras.layers.Dense(
            options.num_classes + 1, kernel_initializer=last_layer_initializer(), name="dense"
        )
        odds = options.void_prior / (1 - options.void_prior)
        self.prior = [0.0] * options.num_classes + [math.log(options.num_classes * odds)]

    def call(self, centers: tf.Tensor) -> tf.Tensor:
        """Classifies each center."""
        return tf.cast(self.dense(centers), tf.float32) + self.prior


class PredictionHeads(keras.layers.Layer):
    """All heads of one prediction.

    Pixel features [B, H, W, C] and the centers' class and mask embeddings [B, N, C] ->
    `Predictions` with mask_logits, class_logits and pixel_embeddings.
    """

    def __init__(
        self, options: HeadOptions, batch_norm: BatchNormFactory, name: Optional[str] = None
    ):
        super().__init__(name=name)
        self.pixel_head = PixelHead(options, batch_norm, name="pixel_head")
        self.mask_head = MaskHead(options, batch_norm, name="mask_head")
        self.class_head = ClassHead(options, name="class_head")

    def call(
        self,
        pixel_features: tf.Tensor,
        class_embeddings: tf.Tensor,
        mask_embeddings: tf.Tensor,
        training: Optional[bool] = None,
    ) -> Predictions:
        """Predicts masks and classes."""
        pixel_embeddings = self.pixel_head(pixel_features, training=training)
        return Predictions(
            mask_logits=self.mask_head(pixel_embeddings, mask_embeddings, training=training),
            class_logits=self.class_head(class_embeddings),
            pixel_embeddings=pixel_embeddings,
        )
