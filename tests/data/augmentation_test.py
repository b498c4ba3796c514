import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.data.augmentation import (
    cut_image,
    cut_label,
    pad_to_crop,
    random_size,
    random_window,
    scale_levels,
    scaled_size,
)
from kmax_tf.data.preprocessing import resize_image
from kmax_tf.ops.resizing import resize_map

SCALES = (0.5, 2.0, 0.1)


def sample(height, width, seed=0):
    """An image whose red channel is its label."""
    ids = np.random.default_rng(seed).integers(1, 200, (height, width), dtype=np.int32)
    image = np.repeat(ids[..., np.newaxis], 3, axis=-1).astype(np.float32)
    return tf.constant(image), tf.constant(ids)


def seeds(count):
    return [tf.constant([7, number]) for number in range(count)]


@pytest.mark.parametrize("pasted", [False, True], ids=["main", "paste"])
@pytest.mark.parametrize(
    ("name", "low", "high"), [("coco", 0.3, 1.7), ("cityscapes", 0.5, 2.0), ("ade20k", 0.5, 2.0)]
)
def test_levels_are_those_recorded(recorded_augmentation, name, low, high, pasted):
    factor = 0.5 if pasted else 1.0
    expected = recorded_augmentation[f"levels_{name}_{'paste' if pasted else 'main'}"]
    # As fields of protos give them.
    low, high, step = (float(np.float32(value)) for value in (low, high, 0.1))
    np.testing.assert_array_equal(scale_levels(low * factor, high * factor, step), expected)


def test_a_range_narrower_than_the_step_has_one_level():
    assert scale_levels(1.0, 1.05, 0.1).tolist() == [1.0]


@pytest.mark.parametrize("scale", ["0.3", "0.7", "1.3"])
def test_scaling_is_that_of_the_reference(golden, scale):
    label = golden["scale/in_label"]
    size = scaled_size(tf.shape(label), float(scale))
    expected = golden[f"scale/{scale}/label"]
    np.testing.assert_array_equal(resize_map(tf.constant(label), size), expected)
    image = resize_image(tf.constant(golden["scale/in_image"]), size)
    np.testing.assert_allclose(image[::3, ::3], golden[f"scale/{scale}/image_every_3rd"], atol=1e-5)


def test_scales_are_the_levels_or_anything_between():
    size = tf.constant([100, 200])
    heights = {int(random_size(size, seed, SCALES)[0]) for seed in seeds(200)}
    levels = {int(np.float32(100) * level) for level in scale_levels(*SCALES)}
    assert heights == levels
    sizes = [tuple(random_size(size, seed, (0.5, 2.0, 0.0)).numpy()) for seed in seeds(40)]
    assert len(set(sizes)) > 25
    assert all(50 <= height < 200 for height, _ in sizes)
    for scales in ((1.0, 1.0, 0.1), (1.0, 1.0, 0.0), (1.0, 1.05, 0.1)):
        assert random_size(size, seeds(1)[0], scales).numpy().tolist() == [100, 200]


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_a_crop_is_a_window_of_the_image(height, width, crop, seed):
    image, label = sample(height, width, seed)
    window = random_window(tf.shape(label), tf.constant([seed, 1]), crop)
    found = cut_image(image, window, crop).numpy()
    ids = pad_to_crop(cut_label(label, window, ()), window, crop, -1).numpy()
    assert found.shape == (*crop, 3)
    assert ids.shape == crop
    inside = ids != -1
    assert inside.sum() == min(height, crop[0]) * min(width, crop[1])
    np.testing.assert_array_equal(found[inside][:, 0], ids[inside])
    np.testing.assert_array_equal(found[~inside], 0)
    top, left = window.start.numpy()
    above, before = window.before.numpy()
    seen_height, seen_width = window.size.numpy()
    np.testing.assert_array_equal(
        ids[above : above + seen_height, before : before + seen_width],
        label.numpy()[top : top + seen_height, left : left + seen_width],
    )


SIDES = st.integers(1, 90)
SIZES = st.tuples(SIDES, SIDES)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(SIZES, SIZES, SIZES), crop=SIZES, seed=st.integers(0, 1000))
def test_a_label_is_cut_as_if_it_were_resized_whole(sizes, crop, seed):
    _, label = sample(*sizes[0], seed)
    resized = resize_map(resize_map(label, tf.constant(sizes[1])), tf.constant(sizes[2]))
    window = random_window(tf.constant(sizes[2]), tf.constant([seed, 1]), crop)
    top, left = window.start.numpy()
    height, width = window.size.numpy()
    np.testing.assert_array_equal(
        cut_label(label, window, (tf.constant(sizes[1]), tf.constant(sizes[2]))),
        resized.numpy()[top : top + height, left : left + width],
    )


def test_every_place_of_the_crop_occurs():
    places = {
        (*window.start.numpy().tolist(), *window.before.numpy().tolist())
        for window in (random_window(tf.constant([5, 3]), seed, (3, 5)) for seed in seeds(150))
    }
    assert places == {(top, 0, 0, left) for top in range(3) for left in range(3)}
