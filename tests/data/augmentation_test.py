import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.data.augmentation import (
    random_crop,
    random_flip,
    random_scale,
    scale_levels,
    scaled_size,
)
from kmax_tf.data.preprocessing import PADDING_VALUE, resize_image, resize_map

VOID = 0
SCALES = (0.5, 2.0, 0.1)


def sample(height, width, seed=0):
    """An image whose red channel is its label."""
    ids = np.random.default_rng(seed).integers(1, 200, (height, width), dtype=np.int32)
    image = np.repeat(ids[..., np.newaxis], 3, axis=-1).astype(np.float32)
    return tf.constant(image), tf.constant(ids)


def seeds(count):
    return [tf.constant([7, number]) for number in range(count)]


@pytest.mark.parametrize(
    ("name", "scales"), [("coco_main", (0.3, 1.7, 0.1)), ("cityscapes_main", (0.5, 2.0, 0.1))]
)
def test_levels_are_those_of_the_reference(golden, name, scales):
    np.testing.assert_array_equal(scale_levels(*scales), golden[f"levels/{name}"])


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
    image, label = sample(100, 200)
    heights = {random_scale(image, label, seed, SCALES)[1].shape[0] for seed in seeds(200)}
    levels = {int(np.float32(100) * level) for level in scale_levels(*SCALES)}
    assert heights == levels
    sizes = [random_scale(image, label, seed, (0.5, 2.0, 0.0))[1].shape for seed in seeds(40)]
    assert len(set(sizes)) > 25
    assert all(50 <= height < 200 for height, _ in sizes)


def test_scale_one_changes_nothing():
    image, label = sample(9, 11)
    for scales in ((1.0, 1.0, 0.1), (1.0, 1.0, 0.0), (1.0, 1.05, 0.1)):
        same_image, same_label = random_scale(image, label, seeds(1)[0], scales)
        np.testing.assert_array_equal(same_image, image)
        np.testing.assert_array_equal(same_label, label)


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_a_crop_is_a_window_of_the_image(height, width, crop, seed):
    image, label = sample(height, width, seed)
    window, ids = random_crop(image, label, tf.constant([seed, 1]), crop, VOID)
    window, ids = window.numpy(), ids.numpy()
    assert window.shape == (*crop, 3)
    assert ids.shape == crop
    inside = ids != VOID
    assert inside.sum() == min(height, crop[0]) * min(width, crop[1])
    np.testing.assert_array_equal(window[inside][:, 0], ids[inside])
    np.testing.assert_array_equal(window[~inside], PADDING_VALUE)
    assert set(ids[inside]) <= set(label.numpy().ravel())


def test_every_place_of_the_crop_occurs():
    image, label = sample(5, 3)
    places = set()
    for seed in seeds(150):
        _, ids = random_crop(image, label, seed, (3, 5), VOID)
        top = int(np.argwhere(label.numpy() == ids.numpy()[0].max())[0, 0])
        left = int(np.nonzero((ids.numpy() != VOID).any(axis=0))[0][0])
        places.add((top, left))
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_mirroring_follows_its_probability():
    image, label = sample(4, 6)
    mirrored = 0
    for seed in seeds(200):
        flipped_image, flipped_label = random_flip(image, label, seed, 0.25)
        np.testing.assert_array_equal(flipped_image[..., 0], flipped_label)
        changed = bool((flipped_label.numpy() != label.numpy()).any())
        if changed:
            np.testing.assert_array_equal(flipped_label, label.numpy()[:, ::-1])
        mirrored += changed
    assert 30 < mirrored < 70
    for probability, expected in ((0.0, label), (1.0, label[:, ::-1])):
        np.testing.assert_array_equal(
            random_flip(image, label, seeds(1)[0], probability)[1], expected
        )


def test_eager_and_piped_results_agree_and_depend_on_the_seed_alone():
    image, label = sample(30, 40)

    def augment(seed):
        scaled = random_scale(image, label, seed, SCALES)
        cropped = random_crop(*scaled, seed + 1, (33, 33), VOID)
        return random_flip(*cropped, seed + 2, 0.5)

    piped = tf.data.Dataset.from_tensor_slices(tf.stack(seeds(8))).map(augment)
    assert piped.element_spec[0].shape == (33, 33, 3)
    results = []
    for seed, (piped_image, piped_label) in zip(seeds(8), piped):
        eager_image, eager_label = augment(seed)
        np.testing.assert_allclose(piped_image, eager_image, atol=1e-4)
        np.testing.assert_array_equal(piped_label, eager_label)
        results.append(eager_label.numpy().tobytes())
    assert len(set(results)) == 8
