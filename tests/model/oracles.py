"""What layers should give: the oracles with the layers' own weights, in float64."""

from __future__ import annotations

import numpy as np

from tests.model.weights import array, norm_of
from tests.reference import layers_oracle as oracle


def identity(x):
    return x


def conv_bn(layer, x, activation=identity, stride=1, dilation=1):
    """Of a ConvBN."""
    y = oracle.convolve(x, array(layer.conv.kernel), stride, dilation)
    return activation(oracle.normalize(y, norm_of(layer.batch_norm)))


def dense_bn(layer, x, activation=identity):
    """Of a DenseBN."""
    y = np.asarray(x) @ array(layer.dense.kernel)
    return activation(oracle.normalize(y, norm_of(layer.batch_norm)))


def separable_conv_bn(layer, x):
    """Of a SeparableConvBN."""
    depthwise = layer.depthwise
    y = oracle.convolve_depthwise(x, array(depthwise.conv.depthwise_kernel))
    y = oracle.gelu(oracle.normalize(y, norm_of(depthwise.batch_norm)))
    return conv_bn(layer.pointwise, y, oracle.gelu)


def dense(layer, x):
    """Of a dense layer with bias, or a 1x1 convolution."""
    kernel = array(layer.kernel)
    return np.asarray(x) @ kernel.reshape(kernel.shape[-2:]) + array(layer.bias)


def layer_norm(layer, x):
    """Of a LayerNorm."""
    return oracle.layer_normalize(np.asarray(x, float), array(layer.gamma), array(layer.beta))
