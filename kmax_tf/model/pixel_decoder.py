"""Pixel decoder: backbone features -> pixel features at every stride (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.layers import ConvBN, LayerNorm
from kmax_tf.model.residual import BlockOptions, ResidualStage
from kmax_tf.ops.resizing import resize_bilinear, spatial_size


class Fuse(keras.layers.Layer):
    """Sum of the coarse path and a backbone feature, at the size of the latter.

    ([B, h, w, C], [B, H, W, C']) -> [B, H, W, filters]. Each is activated, projected and resized,
    or only resized where it already has the right width. The sum is not activated.
    """

    def __init__(self, filters: int, batch_norm: BatchNormFactory, name: Optional[str] = None):
        super().__init__(name=name)
        self.filters = filters
        self.batch_norm = batch_norm

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Makes a projection for each input whose width differs."""
        self.coarse_projection, self.fine_projection = (
            None if shape[-1] == self.filters else ConvBN(self.filters, self.batch_norm, name=name)
            for shape, name in zip(input_shape, ("coarse_projection", "fine_projection"))
        )
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Projects, resizes and adds."""
        coarse, fine = inputs
        size = spatial_size(fine)
        if self.coarse_projection is not None:
            coarse = self.coarse_projection(ops.gelu(coarse), training=training)
        if self.fine_projection is not None:
            fine = self.fine_projection(ops.gelu(fine), training=training)
        return resize_bilinear(coarse, size) + fine


class PixelDecoder(keras.layers.Layer):
    """Stages of axial or bottleneck blocks from stride 32 upwards, fused with the backbone.

    {stride: [B, H/s, W/s, C]} of the backbone -> {stride: [B, H/s, W/s, 4 * filters]} for strides
    32, 16, ... one a stage, not activated.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[BlockOptions]],
        batch_norm: BatchNormFactory,
        recompute_blocks: bool = False,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.strides = [32 >> i for i in range(len(stages))]
        self.backbone_norms = [
            LayerNorm(name=f"backbone_norm_stride{stride}") for stride in self.strides
        ]
        self.stages = [
            ResidualStage(
                options,
                batch_norm,
                recompute_blocks=recompute_blocks,
                name=f"stage_stride{stride}",
            )
            for stride, options in zip(self.strides, stages)
        ]
        self.fuses = [
            Fuse(options[0].filters, batch_norm, name=f"fuse_stride{stride}")
            for stride, options in zip(self.strides[1:], stages[1:])
        ]

    def call(
        self, features: dict[int, tf.Tensor], training: Optional[bool] = None
    ) -> dict[int, tf.Tensor]:
        """Returns the pixel features of each stride."""
        normalized = [
            norm(features[stride]) for stride, norm in zip(self.strides, self.backbone_norms)
        ]
        x = self.stages[0](normalized[0], training=training)
        pixel_features = {self.strides[0]: x}
        for i, fuse in enumerate(self.fuses, start=1):
            x = fuse([x, normalized[i]], training=training)
            x = self.stages[i](x, training=training)
            pixel_features[self.strides[i]] = x
        return pixel_features
