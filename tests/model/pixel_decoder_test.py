"""The pixel decoder: fusion against its oracle, and what it makes of which feature."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.model.batch_norm import BatchNormFactory
from kmax_tf.model.pixel_decoder import Fuse, PixelDecoder
from tests.model.oracles import conv_bn, layer_norm
from tests.model.weights import close, random, randomized
from tests.options import block_options, with_defaults
from tests.reference import layers_oracle as oracle

NORM = with_defaults(BatchNormFactory)
CONVOLUTION = block_options(2, ops.gelu)
AXIAL = block_options(2, ops.gelu, axial=True, num_heads=2, max_span=5)
FEATURES = {
    stride: random(2, 64 // stride + 1, 32 // stride + 1, 3 + i, seed=i)
    for i, stride in enumerate((2, 4, 8, 16, 32))
}


@pytest.mark.parametrize("coarse_channels", [3, 5])
@pytest.mark.parametrize("fine_channels", [3, 4])
def test_fuse_equals_the_oracle(coarse_channels, fine_channels):
    coarse, fine = random(2, 3, 2, coarse_channels), random(2, 5, 3, fine_channels, seed=1)
    fuse = randomized(Fuse(3, NORM), [coarse, fine])

    def project(layer, x):
        return x if layer is None else conv_bn(layer, oracle.gelu(x))

    expected = oracle.resize(project(fuse.coarse_projection, coarse), 5, 3)
    close(fuse([coarse, fine]), expected + project(fuse.fine_projection, fine))
    assert (fuse.coarse_projection is None) == (coarse_channels == 3)
    assert (fuse.fine_projection is None) == (fine_channels == 3)


def test_equals_its_parts_in_order():
    stages = [[AXIAL], [AXIAL] * 2, [CONVOLUTION], [CONVOLUTION], [CONVOLUTION]]
    decoder = randomized(PixelDecoder(stages, NORM), FEATURES)
    normalized = [
        layer_norm(norm, FEATURES[stride]).astype(np.float32)
        for stride, norm in zip((32, 16, 8, 4, 2), decoder.backbone_norms)
    ]
    outputs = decoder(FEATURES)
    assert list(outputs) == [32, 16, 8, 4, 2]
    x = decoder.stages[0](normalized[0])
    close(outputs[32], x, 1e-3)
    for output, fuse, stage, fine in zip(
        list(outputs.values())[1:], decoder.fuses, decoder.stages[1:], normalized[1:]
    ):
        x = stage(fuse([x, fine]))
        close(output, x, 1e-3)


def test_backbone_features_are_read_where_their_stride_is():
    inputs = {stride: tf.constant(x) for stride, x in FEATURES.items()}
    decoder = randomized(PixelDecoder([[CONVOLUTION]] * 4, NORM), inputs)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = {stride: tf.reduce_sum(tf.sin(x)) for stride, x in decoder(inputs).items()}
    for stride, output in outputs.items():
        reached = {s for s, x in inputs.items() if tape.gradient(output, x) is not None}
        assert reached == {s for s in (4, 8, 16, 32) if s >= stride}
