"""ConvNeXt (arXiv 2201.03545), as the published kMaX experiments have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.grids import grid_side
from kmax_tf.keras_api import keras
from kmax_tf.model.backbones.backbone import Backbone
from kmax_tf.model.backbones.convnext_names import NAMES
from kmax_tf.model.convolutions import DenseGelu, DepthwiseConvolution
from kmax_tf.model.layers import DropPath, LayerNorm
from kmax_tf.model.stage import Stage
from kmax_tf.ops.resizing import resize_bilinear, spatial_size


class Downsample(keras.layers.Layer):
    """Layer normalization and a strided convolution without overlap.

    [B, H, W, C] -> [B, H', W', channels] with H = 2H' - 1, or 4H' - 3 in the stem, which normalizes
    after its convolution. Sizes of the form stride * k + 1 are padded with zeros to whole patches;
    the others' padding comes before their normalization, which turns it into the offset.
    """

    def __init__(self, channels: int, stem: bool = False, name: Optional[str] = None):
        super().__init__(name=name)
        self.stem = stem
        stride, padding = (4, (1, 2)) if stem else (2, (0, 1))
        self.pad = keras.layers.ZeroPadding2D((padding, padding), name="pad")
        self.conv = keras.layers.Conv2D(
            channels, stride, stride, kernel_initializer=initializer(), name="conv"
        )
        self.norm = LayerNorm(name="norm")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Pads, normalizes and convolves."""
        x = self.pad(x)
        return self.norm(self.conv(x)) if self.stem else self.conv(self.norm(x))


class ConvNeXtBlock(keras.layers.Layer):
    """7x7 depthwise convolution and two dense layers. [B, H, W, C] -> the same, not activated.

    The branch is scaled, one factor a channel, before it is added.
    """

    def __init__(
        self,
        channels: int,
        layer_scale: float,
        drop_path_keep_prob: float,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.channels = channels
        self.initial_scale = layer_scale
        self.depthwise_conv = DepthwiseConvolution(
            7, depthwise_initializer=initializer(), name="depthwise_conv"
        )
        self.norm = LayerNorm(name="norm")
        self.expansion = DenseGelu(4 * channels, kernel_initializer=initializer(), name="expansion")
        self.projection = keras.layers.Dense(
            channels, kernel_initializer=initializer(), name="projection"
        )
        self.drop_path = DropPath(drop_path_keep_prob, name="drop_path")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the scale of the branch."""
        self.layer_scale = self.add_weight(
            name="layer_scale",
            shape=[self.channels],
            initializer=keras.initializers.Constant(self.initial_scale),
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Adds the branch."""
        branch = self.expansion(self.norm(self.depthwise_conv(x)))
        branch = self.projection(branch) * tf.cast(self.layer_scale, x.dtype)
        return x + self.drop_path(branch, training=training)


class ConvNeXtStage(Stage):
    """ConvNeXt blocks in a row."""


# Blocks, and width of the first stage, of the published sizes.
_SIZES: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "Tiny",
    ((3, 3, 27, 3), 96): "Small",
    ((3, 3, 27, 3), 128): "Base",
    ((3, 3, 27, 3), 192): "Large",
}


class ConvNeXt(Backbone):
    """Image features by stride, not activated.

    [B, H, W, 3] in -1..1 -> {2: stem, 4, 8, 16, 32: [B, H/s, W/s, channels]}. There is nothing of
    stride 2: under that key stands the stem, of stride 4 as it is, or resized to stride 2.
    """

    variable_kinds: ClassVar = {"layer_scale": "layer_scales"}
    names = NAMES

    def __init__(
        self,
        blocks: Sequence[int],
        channels: Sequence[int],
        drop_path_keep_prob: float,
        layer_scale: float,
        stem_to_stride_2: bool,
        recompute_blocks: bool = False,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.stem_to_stride_2 = stem_to_stride_2
        self.downsamples = [
            Downsample(width, stem=stride == 4, name=f"downsample_stride{stride}")
            for stride, width in zip(self.strides, channels)
        ]
        keep_probs = iter(np.linspace(1.0, drop_path_keep_prob, sum(blocks)).tolist())
        self.stages = [
            ConvNeXtStage(
                [
                    ConvNeXtBlock(width, layer_scale, next(keep_probs), name=f"block{i + 1}")
                    for i in range(count)
                ],
                recompute_blocks,
                name=f"stage_stride{stride}",
            )
            for stride, width, count in zip(self.strides, channels, blocks)
        ]

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> dict[int, tf.Tensor]:
        """Returns the features of each stride."""
        features = {}
        size = spatial_size(x)
        height, width = size if isinstance(size, tuple) else tf.unstack(size)
        for i, (downsample, stage) in enumerate(zip(self.downsamples, self.stages)):
            x = downsample(x)
            if i == 0:
                half = grid_side(height, 2), grid_side(width, 2)
                features[2] = resize_bilinear(x, half) if self.stem_to_stride_2 else x
            x = stage(x, training=training)
            features[self.strides[i]] = x
        return features

    def layers_by_depth(self) -> list[list[keras.layers.Layer]]:
        """Returns the layers of each depth; downsampling counts with the block behind it."""
        depths = [[self.downsamples[0]]]
        for i, (downsample, stage) in enumerate(zip(self.downsamples, self.stages)):
            first, *others = stage.blocks
            depths.append([downsample, first] if i else [first])
            depths.extend([block] for block in others)
        return depths

    @property
    def _size(self) -> Optional[str]:
        """Returns "Tiny" and so on, None for a network of other sizes."""
        blocks = tuple(len(stage.blocks) for stage in self.stages)
        return _SIZES.get((blocks, self.stages[0].blocks[0].channels))

    @property
    def title(self) -> str:
        """Returns "ConvNeXt-T" and so on, or the numbers of blocks."""
        blocks = "-".join(str(len(stage.blocks)) for stage in self.stages)
        return f"ConvNeXt-{self._size[0]}" if self._size else f"ConvNeXt {blocks}"

    @property
    def keras_application(self) -> Optional[str]:
        """Returns "ConvNeXtTiny" and so on."""
        return f"ConvNeXt{self._size}" if self._size else None


def initializer() -> keras.initializers.Initializer:
    """Returns the initializer of all kernels (a new one each time)."""
    return keras.initializers.TruncatedNormal(stddev=0.02)
