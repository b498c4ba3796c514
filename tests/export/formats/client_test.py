"""What the client does in NumPy equals what evaluation does in TensorFlow, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kmax_tf.data.preprocessing import fit_image, restore_map
from kmax_tf.export.formats import client
from kmax_tf.files.images import read_image

INPUT = (65, 97)
sides = st.integers(1, 150)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from([0, 40, 65, 200]), st.sampled_from([0, 33, 65, 90]))
def test_images_are_fitted_and_maps_restored_alike(height, width, min_size, max_size):
    rng = np.random.default_rng(height * 1000 + width)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    about = {"size": INPUT, "min_size": min_size, "max_size": max_size}
    expected, fitted = fit_image(tf.constant(image), INPUT, min_size, max_size)
    size = client.fitted_size((height, width), about)
    assert size == fitted.numpy().tolist()
    np.testing.assert_array_equal(client.fit(image, size, INPUT), expected)
    ids = rng.integers(0, 50, INPUT).astype(np.int32)
    whole = restore_map(tf.constant(ids), fitted, tf.constant([height, width]))
    np.testing.assert_array_equal(client.restore(ids, size, (height, width)), whole)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_images_are_read_alike(orientation, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    found = client.read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(found, read_image(tmp_path / "a.jpg"))
    assert found.shape == ((14, 9, 3) if orientation == 6 else (9, 14, 3))
