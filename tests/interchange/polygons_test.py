from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as rle_masks

from kmax_tf.interchange.polygons import trace


def filled(polygons, shape):
    """The pixels that pycocotools fills."""
    listed = [polygon.ravel().astype(float).tolist() for polygon in polygons]
    return rle_masks.decode(rle_masks.merge(rle_masks.frPyObjects(listed, *shape))).astype(bool)


masks = arrays.arrays(
    bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()
).filter(lambda mask: mask.any())


@given(masks)
@settings(max_examples=400, deadline=None)
def test_without_tolerance_a_polygon_fills_the_mask_to_the_pixel(mask):
    polygons = trace(mask)
    np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
    assert len(polygons) == scipy.ndimage.label(mask)[1]
    assert all(len(polygon) >= 4 for polygon in polygons)


def blobs(seed, shape=(90, 120)):
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return noise > 0.02


@pytest.mark.parametrize("seed", range(5))
def test_large_masks_with_holes_in_holes(seed):
    mask = blobs(seed)
    holes = scipy.ndimage.binary_fill_holes(mask) & ~mask
    assert holes.any()
    np.testing.assert_array_equal(filled(trace(mask), mask.shape), mask)
    rough = trace(mask, 1.0)
    assert sum(map(len, rough)) < sum(map(len, trace(mask))) / 3
    both = filled(rough, mask.shape)
    assert (both & mask).sum() / (both | mask).sum() > 0.9


def test_what_is_too_small_for_the_tolerance_still_has_a_polygon():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    (polygon,) = trace(mask, 4.0)
    assert sorted(map(tuple, polygon.tolist())) == [(3, 2), (3, 3), (4, 2), (4, 3)]
