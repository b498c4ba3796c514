"""Building blocks that every part of the network shares."""

from __future__ import annotations

from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.keras_api import keras
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.convolutions import Convolution, DepthwiseConvolution
from kmax_tf.model.recompute import random_uniform

ActivationFn = Callable[[tf.Tensor], tf.Tensor]

ACTIVATIONS: dict[str, ActivationFn] = {
    "relu": tf.nn.relu,
    "gelu": ops.gelu,
}


class LayerNorm(keras.layers.LayerNormalization):
    """Layer normalization over the last axis."""

    def __init__(self, name: Optional[str] = None):
        super().__init__(epsilon=1e-6, name=name)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes."""
        return ops.layer_norm(inputs, self.gamma, self.beta, self.epsilon)


class Affine(keras.layers.Layer):
    """What folding leaves of a batch normalization: a factor and an offset, or one of them.

    It computes in the type of its input.
    """

    def __init__(
        self,
        scale: Optional[np.ndarray] = None,
        offset: Optional[np.ndarray] = None,
        name: Optional[str] = None,
    ):
        super().__init__(name=name, trainable=False, autocast=False)
        self.scale, self.offset = (
            None if value is None else self._constant(value, kind)
            for value, kind in ((scale, "scale"), (offset, "offset"))
        )

    def _constant(self, value: np.ndarray, name: str) -> tf.Variable:
        variable = self.add_weight(name=name, shape=value.shape, trainable=False)
        variable.assign(value)
        return variable

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Scales and shifts."""
        if training:
            raise ValueError(f"{self.name}: batch normalizations were folded, so training is over")
        if self.scale is not None:
            x = x * tf.cast(self.scale, x.dtype)
        if self.offset is not None:
            offset = tf.cast(self.offset, x.dtype)
            # The operation that kernels of convolutions and matrix products take up.
            x = tf.nn.bias_add(x, offset) if offset.shape.rank == 1 else x + offset
        return x


def affine_of(batch_norm: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns the factor and the offset, in float64, that a normalization is in inference."""
    gamma, beta, mean, variance = (
        variable.numpy().astype(np.float64)
        for variable in (
            batch_norm.gamma,
            batch_norm.beta,
            batch_norm.moving_mean,
            batch_norm.moving_variance,
        )
    )
    scale = gamma / np.sqrt(variance + batch_norm.epsilon)
    return scale, beta - mean * scale


def as_affine(batch_norm: keras.layers.Layer) -> Affine:
    """Returns what takes the place of a normalization that goes into no other layer."""
    return Affine(*affine_of(batch_norm), name=batch_norm.name)


def fold_into(kernel: tf.Variable, batch_norm: keras.layers.Layer) -> Affine:
    """Scales a kernel [..., C] by the normalization behind it; returns what takes its place."""
    scale, offset = affine_of(batch_norm)
    kernel.assign(kernel.numpy() * scale)
    return Affine(offset=offset, name=batch_norm.name)


class ConvBN(keras.layers.Layer):
    """Convolution without bias, batch normalization, optional activation.

    [B, H, W, C] -> [B, H', W', filters]. A strided convolution pads (kernel_size - 1) / 2 zeros on
    each side, so that n pixels become (n - 1) / stride + 1 with aligned corners.
    """

    def __init__(
        self,
        filters: int,
        batch_norm: BatchNormFactory,
        kernel_size: int = 1,
        stride: int = 1,
        dilation: int = 1,
        activation: Optional[ActivationFn] = None,
        initial_scale: float = 1.0,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        padding = (kernel_size - 1) // 2
        self.pad = (
            keras.layers.ZeroPadding2D(padding, name="pad") if stride > 1 and padding else None
        )
        self.conv = Convolution(
            filters,
            kernel_size,
            stride,
            padding="same" if stride == 1 else "valid",
            dilation_rate=dilation,
            kernel_initializer="he_normal",
            name="conv",
        )
        self.batch_norm = batch_norm("batch_norm", initial_scale=initial_scale)
        self.activation = activation

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies the three in turn."""
        conv, is_folded = self.conv, isinstance(self.batch_norm, Affine)
        if is_folded and self.activation is ops.gelu and conv.kernel_size == conv.strides == (1, 1):
            kernel = tf.squeeze(tf.convert_to_tensor(conv.kernel), [0, 1])  # [C, filters]
            return ops.project_to_gelu(x, kernel, tf.cast(self.batch_norm.offset, x.dtype))
        if self.pad is not None:
            x = self.pad(x)
        x = self.batch_norm(conv(x), training=training)
        return x if self.activation is None else self.activation(x)

    def fold(self) -> None:
        """Folds the normalization into the convolution, for inference."""
        self.batch_norm = fold_into(self.conv.kernel, self.batch_norm)


class DepthwiseBN(keras.layers.Layer):
    """Depthwise convolution without bias, batch normalization, GELU. [B, H, W, C] -> the same."""

    def __init__(self, kernel_size: int, batch_norm: BatchNormFactory, name: Optional[str] = None):
        super().__init__(name=name)
        self.conv = DepthwiseConvolution(kernel_size, use_bias=False, name="conv")
        self.batch_norm = batch_norm("batch_norm")

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies the three in turn."""
        x = self.batch_norm(self.conv(x), training=training)
        return ops.gelu(x)

    def fold(self) -> None:
        """Folds the normalization into the convolution, for inference."""
        scale, offset = affine_of(self.batch_norm)
        kernel = self.conv.depthwise_kernel  # [h, w, C, 1]
        kernel.assign(kernel.numpy() * scale[:, np.newaxis])
        self.batch_norm = Affine(offset=offset, name=self.batch_norm.name)


class SeparableConvBN(keras.layers.Layer):
    """Depthwise then pointwise convolution, each with batch normalization and GELU.

    [B, H, W, C] -> [B, H, W, filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        batch_norm: BatchNormFactory,
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.depthwise = DepthwiseBN(kernel_size, batch_norm, name="depthwise")
        self.pointwise = ConvBN(filters, batch_norm, activation=ops.gelu, name="pointwise")

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies both."""
        return self.pointwise(self.depthwise(x, training=training), training=training)


class DenseBN(keras.layers.Layer):
    """Dense layer over the last axis without bias, batch normalization, optional activation.

    [B, N, C] -> [B, N, units].
    """

    def __init__(
        self,
        units: int,
        batch_norm: BatchNormFactory,
        activation: Optional[ActivationFn] = None,
        initial_scale: float = 1.0,
        kernel_initializer: str | keras.initializers.Initializer = "he_normal",
        name: Optional[str] = None,
    ):
        super().__init__(name=name)
        self.dense = keras.layers.Dense(
            units, use_bias=False, kernel_initializer=kernel_initializer, name="dense"
        )
        self.batch_norm = batch_norm("batch_norm", initial_scale=initial_scale)
        self.activation = activation

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Applies the three in turn."""
        x = self.dense(x)
        if isinstance(self.batch_norm, Affine):
            x = self.batch_norm(x, training=training)
        else:  # with four axes, for which there is the fast kind of normalization
            x = self.batch_norm(tf.expand_dims(x, 2), training=training)
            x = tf.squeeze(x, 2)
        return x if self.activation is None else self.activation(x)

    def fold(self) -> None:
        """Folds the normalization into the dense layer, for inference."""
        self.batch_norm = fold_into(self.dense.kernel, self.batch_norm)


class DropPath(keras.layers.Layer):
    """Stochastic depth: drops a whole residual branch of an example (arXiv 1603.09382).

    The branch of each example is kept with probability `keep_prob` and then divided by it.
    """

    def __init__(self, keep_prob: float, name: Optional[str] = None):
        super().__init__(name=name)
        self.keep_prob = keep_prob

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Returns `x`, in training with some examples zero."""
        if not training or self.keep_prob == 1.0:
            return x
        shape = [tf.shape(x)[0]] + [1] * (x.shape.rank - 1)
        keep = tf.floor(self.keep_prob + random_uniform(shape)) / self.keep_prob
        return x * tf.cast(keep, x.dtype)
