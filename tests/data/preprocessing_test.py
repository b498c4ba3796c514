import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.data import preprocessing
from kmax_tf.data.preprocessing import (
    fit_image,
    fit_size,
    pad_map,
    resize_bytes,
    resize_image,
    restore_map,
)
from kmax_tf.ops.resizing import resize_map


def test_sizes_are_those_of_the_reference(golden):
    for height, width, min_size, max_size, *expected in golden["resize"]:
        size = fit_size(tf.constant([height, width]), int(min_size), int(max_size))
        assert size.numpy().tolist() == expected, (height, width, min_size, max_size)


def test_evaluation_inputs_are_those_of_the_reference(golden, golden_labels):
    image, size = fit_image(tf.constant(golden["coco_c/in_image"]), (129, 129), 129, 129)
    np.testing.assert_array_equal(size, golden["coco_c/resized_size"])
    np.testing.assert_allclose(image[::8, ::8], golden["coco_c/image_every_8th"], atol=1e-5)
    for name, crop, side in (
        ("coco_b", (129, 129), 129),
        ("coco_c", (129, 129), 129),
        ("cityscapes", (129, 257), 0),
    ):
        label = tf.constant(golden[f"{name}/in_label"])
        size = fit_size(tf.shape(label), side, side or crop)
        np.testing.assert_array_equal(size, golden[f"{name}/resized_size"])
        fitted = pad_map(resize_map(label, size), crop, golden_labels[name].void_panoptic_id)
        np.testing.assert_array_equal(fitted, golden[f"{name}/panoptic_gt"])


@pytest.mark.parametrize("size", [(9, 14), (90, 140), (20, 30), (28, 41), (1, 1)])
def test_bytes_are_resized_to_the_same(size):
    image = np.random.default_rng(0).integers(0, 256, (28, 41, 3), dtype=np.uint8)
    resized = resize_bytes(tf.constant(image), tf.constant(size))
    assert resized.dtype == tf.float32
    np.testing.assert_array_equal(resized, resize_image(tf.constant(image), size))


SIDES = st.integers(1, 300)


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, min_size=st.integers(0, 130), crop=st.tuples(SIDES, SIDES))
def test_a_fitted_image_fits(height, width, min_size, crop):
    size = fit_size(tf.constant([height, width]), min_size, crop).numpy()
    assert (size >= 1).all()
    assert (size <= crop).all()
    if min_size == 0 and height <= crop[0] and width <= crop[1]:
        assert size.tolist() == [height, width]


def test_padding_is_at_the_bottom_and_right():
    image = np.full((3, 5, 3), 7, np.uint8)
    fitted, size = fit_image(tf.constant(image), (8, 9))
    assert fitted.shape == (8, 9, 3)
    assert fitted.dtype == tf.float32
    assert size.numpy().tolist() == [3, 5]
    expected = np.full((8, 9, 3), preprocessing.PADDING_VALUE)
    expected[:3, :5] = 7
    np.testing.assert_array_equal(fitted, expected)


def test_what_exceeds_the_crop_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="exceeds crop_size"):
        pad_map(tf.zeros([4, 10], tf.int32), (8, 9), 0)


def test_graphs_of_any_size_agree_with_eager_and_single_images():
    rng = np.random.default_rng(0)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def fit(images):
        return fit_image(images, (33, 65), 20, 60)

    for height, width in ((20, 30), (90, 41)):
        images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        fitted, size = fit(tf.constant(images))
        assert fitted.shape == (2, 33, 65, 3)
        for image, expected in zip(images, fitted):
            single, single_size = fit_image(tf.constant(image), (33, 65), 20, 60)
            np.testing.assert_array_equal(single_size, size)
            np.testing.assert_allclose(single, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(2, 60), width=st.integers(2, 60), factor=st.integers(1, 3))
def test_maps_come_back_from_the_input(height, width, factor):
    rng = np.random.default_rng(height * 100 + width)
    ids = rng.integers(0, 1 << 16, (height, width), dtype=np.int32)
    raw_size = tf.constant([height, width])
    # Aligned corners keep every pixel when sides grow by whole multiples of (side - 1).
    fitted_size = (raw_size - 1) * factor + 1
    fitted = pad_map(resize_map(tf.constant(ids), fitted_size), (200, 200), 0)
    np.testing.assert_array_equal(restore_map(fitted, fitted_size, raw_size), ids)
    batch = tf.stack([fitted, fitted + 1])
    restored = restore_map(batch, fitted_size, raw_size)
    np.testing.assert_array_equal(restored[1], ids + 1)
