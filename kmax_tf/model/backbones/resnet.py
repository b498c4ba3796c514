"""ResNet with pre-activation blocks and no max-pool, as the published kMaX ResNet-50 has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.layers import ActivationFn, BatchNormFactory, ConvBN
from kmax_tf.model.residual import BlockOptions, ResidualStage


class ResNet(keras.layers.Layer):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, 4, 8, 16, 32: [B, H/s, W/s, 4 * filters]}. Every stage's
    first block halves the resolution, that of stride 4 included, in place of a max-pool.
    """

    def __init__(
        self,
        filters: Sequence[int],
        blocks: Sequence[int],
        activation: ActivationFn,
        batch_norm: BatchNormFactory,
        stem_channels: int = 64,
        drop_path_keep_prob: float = 1.0,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.activation = activation
        self.stem = ConvBN(stem_channels, batch_norm, kernel_size=7, stride=2, name="stem")
        self.stages = [
            ResidualStage(
                [BlockOptions(width, activation)] * count,
                batch_norm,
                stride=2,
                drop_path_keep_probs=[
                    keep_prob(drop_path_keep_prob, 2 ** (i + 1) if block == 0 else 2 ** (i + 2))
                    for block in range(count)
                ],
                name=f"stage_stride{4 << i}",
            )
            for i, (width, count) in enumerate(zip(filters, blocks))
        ]

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> dict[int, tf.Tensor]:
        """Returns the features of each stride."""
        x = self.stem(x, training=training)
        features = {2: x}
        for i, stage in enumerate(self.stages):
            x = stage(x, training=training)
            features[2 ** (i + 2)] = x
        return features


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
