"""The pixel decoder: fusion against its oracle, and what it makes of which feature."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.pixel_decoder import Fuse, PixelDecoder
from tests.model.weights import array, norm_of, random, randomize
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
CONVOLUTION = block_options(2, ops.gelu)
AXIAL = block_options(2, ops.gelu, axial=True, num_heads=2, max_span=5)


@pytest.mark.parametrize("coarse_channels", [3, 5])
@pytest.mark.parametrize("fine_channels", [3, 4])
def test_fuse_equals_the_oracle(coarse_channels, fine_channels):
    fuse = Fuse(3, NORM)
    coarse, fine = random(2, 3, 2, coarse_channels), random(2, 5, 3, fine_channels, seed=1)
    fuse([coarse, fine])
    randomize(fuse)

    def project(layer, x):
        if layer is None:
            return x
        kernel = array(layer.conv.kernel)[0, 0]
        return oracle.normalize(oracle.gelu(x) @ kernel, norm_of(layer.batch_norm))

    expected = oracle.resize(project(fuse.coarse_projection, coarse.astype(np.float64)), 5, 3)
    expected = expected + project(fuse.fine_projection, fine.astype(np.float64))
    np.testing.assert_allclose(fuse([coarse, fine]), expected, rtol=1e-4, atol=1e-5)
    assert (fuse.coarse_projection is None) == (coarse_channels == 3)
    assert (fuse.fine_projection is None) == (fine_channels == 3)


def features(strides=(2, 4, 8, 16, 32), height=65, width=33):
    return {
        stride: random(2, (height - 1) // stride + 1, (width - 1) // stride + 1, 3 + i, seed=i)
        for i, stride in enumerate(strides)
    }


@pytest.mark.parametrize("stages", [4, 5])
def test_strides_and_shapes(stages):
    """Four stages end at stride 4, a fifth at stride 2."""
    decoder = PixelDecoder([[AXIAL]] * 2 + [[CONVOLUTION]] * (stages - 2), NORM)
    outputs = decoder(features())
    assert list(outputs) == [32, 16, 8, 4, 2][:stages]
    for stride, x in outputs.items():
        assert x.shape == [2, 64 // stride + 1, 32 // stride + 1, 8]


def test_equals_its_parts_in_order():
    decoder = PixelDecoder([[AXIAL], [AXIAL] * 2, [CONVOLUTION], [CONVOLUTION]], NORM)
    inputs = features()
    decoder(inputs)
    randomize(decoder)
    normalized = {}
    for stride, norm in zip((32, 16, 8, 4), decoder.backbone_norms):
        normalized[stride] = oracle.layer_normalize(
            inputs[stride].astype(np.float64), array(norm.gamma), array(norm.beta)
        ).astype(np.float32)
    x = decoder.stages[0](normalized[32])
    expected = {32: x}
    for fuse, stage, stride in zip(decoder.fuses, decoder.stages[1:], (16, 8, 4)):
        x = stage(fuse([x, normalized[stride]]))
        expected[stride] = x
    for stride, output in decoder(inputs).items():
        np.testing.assert_allclose(output, expected[stride], rtol=1e-3, atol=1e-3)


def test_backbone_features_are_read_where_their_stride_is():
    decoder = PixelDecoder([[CONVOLUTION]] * 4, NORM)
    inputs = {stride: tf.constant(x) for stride, x in features().items()}
    decoder(inputs)
    randomize(decoder)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = {stride: tf.reduce_sum(tf.sin(x)) for stride, x in decoder(inputs).items()}
    for stride, output in outputs.items():
        reached = {s for s, x in inputs.items() if tape.gradient(output, x) is not None}
        assert reached == {s for s in (4, 8, 16, 32) if s >= stride}
