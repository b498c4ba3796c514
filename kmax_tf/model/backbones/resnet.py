"""ResNet with pre-activation blocks, as the published kMaX ResNet-50 and MaX-S have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.backbone import Backbone
from kmax_tf.model.backbones.resnet_names import NAMES
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


# (blocks, filters, whether the last is axial) of each stage of the published networks.
_TITLES: dict[tuple[tuple[int, int, bool], ...], str] = {
    ((3, 64, False), (4, 128, False), (6, 256, False), (3, 512, False)): "ResNet-50",
    ((3, 64, False), (4, 128, False), (6, 256, True), (3, 512, True)): "MaX-S",
}


class ResNet(Backbone):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, 4, 8, 16, 32: [B, H/s, W/s, 4 * filters]}. Every stage's
    first block halves the resolution; that of stride 4 may leave it to a max-pool.
    """

    names = NAMES

    def __init__(
        self,
        stem: keras.layers.Layer,
        stages: Sequence[Sequence[BlockOptions]],
        batch_norm: BatchNormFactory,
        max_pool: bool,
        drop_path_keep_prob: float,
        recompute_blocks: bool = False,
        name: Optional[str] = None,
    ):
        """Makes the stages.

        Args:
          stem: [B, H, W, 3] -> [B, H/2, W/2, C], not activated.
          stages: the blocks of each, from stride 4 to stride 32.
          batch_norm: makes batch normalizations.
          max_pool: follows the stem.
          drop_path_keep_prob: of the last blocks, see `keep_prob`.
          recompute_blocks: compute each block again in the backward pass.
          name: of the layer.
        """
        super().__init__(name=name)
        self.stem = stem
        self.activation = stages[0][0].activation
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
                recompute_blocks=recompute_blocks,
                name=f"stage_stride{stride}",
            )
            for i, (stride, options) in enumerate(zip(self.strides, stages))
        ]

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> dict[int, tf.Tensor]:
        """Returns the features of each stride."""
        x = self.stem(x, training=training)
        features = {2: x}
        if self.max_pool is not None:
            x = self.max_pool(x)
        for stride, stage in zip(self.strides, self.stages):
            x = stage(x, training=training)
            features[stride] = x
        return features

    def layers_by_depth(self) -> list[list[keras.layers.Layer]]:
        """Returns the stem, then each block."""
        return [[self.stem], *([block] for stage in self.stages for block in stage.blocks)]

    @property
    def title(self) -> str:
        """Returns "ResNet-50", "MaX-S", or the numbers of blocks."""
        stages = tuple(
            (len(stage.blocks), last.filters, last.axial)
            for stage in self.stages
            for last in [stage.blocks[-1].options]
        )
        return _TITLES.get(stages) or "ResNet " + "-".join(str(blocks) for blocks, _, _ in stages)

    @property
    def keras_application(self) -> Optional[str]:
        """Returns "ResNet50", whose stem is one convolution."""
        plain = self.title == "ResNet-50" and isinstance(self.stem, ConvBN)
        return "ResNet50" if plain else None

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
