"""Semantic maps of class probabilities against resizing all of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.postprocessing.semantic import best_classes


@pytest.mark.parametrize("static", [False, True])
def test_equals_the_argmax_of_resized_probabilities(static):
    rng = np.random.default_rng(0)
    coarse = rng.exponential(size=[2, 3, 4, 6]) ** 4
    maps = tf.raw_ops.ResizeBilinear(images=coarse, size=[9, 13], align_corners=True).numpy()
    maps /= maps.sum(axis=-1, keepdims=True) * 1.1  # the rest is void
    maps[0, 3, 4] = np.nan
    full = tf.raw_ops.ResizeBilinear(images=maps, size=[33, 49], align_corners=True).numpy()
    found = best_classes(tf.constant(maps), 4, static).numpy()
    finite = np.isfinite(full).all(axis=-1)
    np.testing.assert_array_equal(found[finite], full.argmax(axis=-1)[finite])
    assert found[0, 12, 16] == -1
    assert (maps.max(axis=-1) > 0.5).mean() > 0.2  # some cells are settled
