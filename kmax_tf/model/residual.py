"""Pre-activation residual blocks, with a convolution or axial attention in the middle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.model.axial_attention import AxialAttention
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import ActivationFn, ConvBN, DropPath
from kmax_tf.model.stage import Stage


@dataclasses.dataclass(frozen=True)
class BlockOptions:
    """Sizes of a block.

    Attributes:
      filters: bottleneck width; the output has 4 * filters channels.
      activation: of the block's input and inside it.
      axial: attention instead of the 3x3 convolution.
      dilation: of the 3x3 convolution.
      num_heads: of the axial attention.
      max_span: longest axis with relative positions of its own.
    """

    filters: int
    activation: ActivationFn
    axial: bool
    dilation: int
    num_heads: int
    max_span: int


class ResidualBlock(keras.layers.Layer):
    """One residual block. [B, H, W, C] -> [B, H / stride, W / stride, 4 * filters].

    Input and output are not activated. The shortcut is the activated input, or its projection where
    the shape changes. The last batch normalization starts at 0, so that the block starts as its
    shortcut.
    """

    def __init__(
        self,
        options: BlockOptions,
        batch_norm: BatchNormFactory,
        stride: int = 1,
        drop_path_keep_prob: float = 1.0,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.options = options
        self.stride = stride
        act, filters = options.activation, options.filters
        self.conv1 = ConvBN(
            (2 if options.axial else 1) * filters, batch_norm, activation=act, name="conv1"
        )
        if options.axial:
            self.attention = AxialAttention(
                filters, batch_norm, options.num_heads, options.max_span, stride, name="attention"
            )
        else:
            self.conv2 = ConvBN(
                filters,
                batch_norm,
                kernel_size=3,
                stride=stride,
                dilation=options.dilation,
                activation=act,
                name="conv2",
            )
        self.conv3 = ConvBN(4 * filters, batch_norm, initial_scale=0.0, name="conv3")
        self.drop_path = DropPath(drop_path_keep_prob, name="drop_path")
        self.activate_input = act
        self.batch_norm = batch_norm

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the projection shortcut where the shape changes."""
        channels = 4 * self.options.filters
        self.shortcut = (
            None
            if self.stride == 1 and input_shape[-1] == channels
            else ConvBN(channels, self.batch_norm, stride=self.stride, name="shortcut")
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Adds the branch to the shortcut."""
        act = self.options.activation
        x = self.activate_input(x)
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        x = self.conv1(x, training=training)
        if self.options.axial:
            x = act(self.attention(x, training=training))
        else:
            x = self.conv2(x, training=training)
        x = self.conv3(x, training=training)
        return self.drop_path(x, training=training) + shortcut


class ResidualStage(Stage):
    """Residual blocks in a row; the first may subsample. [B, H, W, C] -> as ResidualBlock."""

    def __init__(
        self,
        options: Sequence[BlockOptions],
        batch_norm: BatchNormFactory,
        stride: int = 1,
        drop_path_keep_probs: Optional[Sequence[float]] = None,
        recompute_blocks: bool = False,
        name: Optional[str] = None,
    ):
        """Makes the blocks.

        Args:
          options: of each.
          batch_norm: makes batch normalizations.
          stride: of the first block.
          drop_path_keep_probs: of each; None: no branch is dropped.
          recompute_blocks: see `Stage`.
          name: of the layer.
        """
        blocks = [
            ResidualBlock(
                block_options, batch_norm, stride if i == 0 else 1, keep_prob, name=f"block{i + 1}"
            )
            for i, (block_options, keep_prob) in enumerate(
                zip(options, drop_path_keep_probs or [1.0] * len(options))
            )
        ]
        super().__init__(blocks, recompute_blocks, name)
