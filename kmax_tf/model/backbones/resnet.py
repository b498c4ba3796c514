"""ResNet with pre-activation blocks, as the published kMaX ResNet-50 and MaX-S have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import ActivationFn, ConvBN
from kmax_tf.model.residual import BlockOptions, ResidualStage


class ThreeConvStem(keras.layers.Layer):
    """3x3 convolutions, the first of stride 2. [B, H, W, 3] -> [B, H/2, W/2, 2 * channels]."""

    def __init__(
        self,
        channels: int,
        activation: ActivationFn,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.conv1 = ConvBN(channels, batch_norm, 3, stride=2, activation=activation, name="conv1")
        self.conv2 = ConvBN(channels, batch_norm, 3, activation=activation, name="conv2")
        self.conv3 = ConvBN(2 * channels, batch_norm, 3, name="conv3")

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies the three in turn; the last is not activated."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = conv(x, training=training)
        return x


class ResNet(keras.layers.Layer):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, 4, 8, 16, 32: [B, H/s, W/s, 4 * filters]}. Every stage's
    first block halves the resolution; that of stride 4 may leave it to a max-pool.
    """

    def __init__(
        self,
        stem: keras.layers.Layer,
        stages: Sequence[Sequence[BlockOptions]],
        batch_norm: BatchNormFactory,
        max_pool: bool = False,
        drop_path_keep_prob: float = 1.0,
        name: Optional[str] = None,
    ):
        """Makes the stages.

        Args:
          stem: [B, H, W, 3] -> [B, H/2, W/2, C], not activated.
          stages: the blocks of each, from stride 4 to stride 32.
          batch_norm: makes batch normalizations.
          max_pool: follows the stem.
          drop_path_keep_prob: of the last blocks, see `keep_prob`.
          name: of the layer.
        """
        super().__init__(name=name)
        self.stem = stem
        # The blocks activate what they are given: ReLU before or after the maximum is the same.
        self.max_pool = (
            keras.layers.MaxPooling2D(3, 2, padding="same", name="max_pool") if max_pool else None
        )
        self.stages = [
            ResidualStage(
                options,
                batch_norm,
                stride=1 if max_pool and i == 0 else 2,
                drop_path_keep_probs=[
                    keep_prob(drop_path_keep_prob, 2 ** (i + 1) if block == 0 else 2 ** (i + 2))
                    for block in range(len(options))
                ],
                name=f"stage_stride{4 << i}",
            )
            for i, options in enumerate(stages)
        ]

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> dict[int, tf.Tensor]:
        """Returns the features of each stride."""
        x = self.stem(x, training=training)
        features = {2: x}
        if self.max_pool is not None:
            x = self.max_pool(x)
        for i, stage in enumerate(self.stages):
            x = stage(x, training=training)
            features[2 ** (i + 2)] = x
        return features

    def fold(self) -> None:
        """Makes the rectifiers of features another operation, which computes the same.

        TensorFlow's graph optimizer fuses convolution, offset, sum and ReLU, and gives up on the
        whole graph where something else reads the sum, as it is with features (TensorFlow 2.15).
        """
        for stage in self.stages[1:]:
            if stage.blocks[0].activate_input is tf.nn.relu:
                stage.blocks[0].activate_input = positive_part


def positive_part(x: tf.Tensor) -> tf.Tensor:
    """Returns max(x, 0)."""
    return tf.maximum(x, tf.zeros([], x.dtype))


def keep_prob(final: float, input_stride: int) -> float:
    """Returns the probability of keeping a block: 1 below stride 16, then falling linearly.

    Args:
      final: the value for blocks whose input has stride 32.
      input_stride: of the block.
    """
    if input_stride < 16:
        return 1.0
    stage = input_stride.bit_length() - 2
    return 1.0 - (1.0 - final) * stage / 4
