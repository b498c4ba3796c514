import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import maximum_filter, minimum_filter

from kmax_tf.data.color import ColorPolicy, Step
from kmax_tf.data.copy_paste import CopyPasteOptions
from kmax_tf.data.preprocessing import PADDING_VALUE
from kmax_tf.data.training_example import AugmentationOptions, TrainingExample
from tests.options import target_options, with_defaults

CROP = (33, 65)
PLAIN = with_defaults(
    AugmentationOptions,
    crop_size=CROP,
    flip_probability=0.0,
    color=None,
    copy_paste=None,
    compile=False,
)
FULL = dataclasses.replace(
    PLAIN,
    min_size=60,
    max_size=90,
    min_scale=0.5,
    max_scale=2.0,
    flip_probability=0.5,
    color=ColorPolicy(((Step("SHARPNESS", 0.5, 9),), (Step("POSTERIZE", 0.9, 4),)), "PIXEL_COUNT"),
    copy_paste=with_defaults(CopyPasteOptions),
)
# In the network's order: cat 3 and dog 1 are things, grass 2 and sky 5 are not.
IDS = np.array([0, 100, 101, 102, 199, 300, 301, 200, 500], np.int32)


def example(height, width, seed):
    """Blocks of ids; a pixel's red is a tenth of its id, so that image and map can be compared."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice(IDS, (height // 8 + 1, width // 8 + 1))
    panoptic = np.kron(blocks, np.ones((8, 8), np.int32))[:height, :width]
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = panoptic // 10 * 4
    return {"image": tf.constant(image), "panoptic": tf.constant(panoptic)}


def make(options, labels, **targets):
    return TrainingExample(options, target_options(max_segments=20, **targets), labels, seed=5)


@pytest.fixture(scope="module")
def pair():
    return example(50, 70, 1), example(80, 40, 2)


def test_nothing_on_is_the_image_with_padding(labels):
    one = example(20, 65, 0)
    image, label = make(PLAIN, labels).augment(tf.constant(3, tf.int64), (one,))
    rows = np.nonzero((image.numpy() != PADDING_VALUE).any((1, 2)))[0]
    assert len(rows) == 20
    np.testing.assert_array_equal(image[rows[0] : rows[0] + 20], one["image"])
    np.testing.assert_array_equal(label[rows[0] : rows[0] + 20], one["panoptic"])
    assert (np.delete(label.numpy(), rows, axis=0) == labels.void_panoptic_id).all()
    mirrored = dataclasses.replace(PLAIN, flip_probability=1.0)
    flipped, flipped_label = make(mirrored, labels).augment(tf.constant(3, tf.int64), (one,))
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(flipped_label, label[:, ::-1])


def test_mirroring_follows_its_probability(labels):
    one = example(33, 65, 0)
    quarter = make(dataclasses.replace(PLAIN, flip_probability=0.25), labels)
    mirrored = 0
    for _, label in tf.data.Dataset.range(200).map(lambda n: quarter.augment(n, (one,))):
        mirrored += bool((label.numpy() == one["panoptic"].numpy()[:, ::-1]).all())
    assert 30 < mirrored < 70


def test_all_on_is_a_function_of_seed_and_number(labels, pair):
    maker = make(FULL, labels)
    pipeline = tf.data.Dataset.range(6).map(lambda number: maker(number, pair))
    images, targets = pipeline.element_spec
    assert images.shape == (*CROP, 3)
    assert {key: tuple(spec.shape) for key, spec in targets.items()} == {
        "semantic_map": CROP,
        "segment_map": CROP,
        "segment_classes": (20,),
        "semantic_weights": CROP,
    }
    seen = set()
    for number, (image, targets) in enumerate(pipeline):
        eager_image, eager_targets = maker(tf.constant(number, tf.int64), pair)
        np.testing.assert_array_equal(image, eager_image)
        for key, value in targets.items():
            np.testing.assert_array_equal(value, eager_targets[key])
        seen.add(image.numpy().tobytes())
    assert len(seen) == 6
    other = TrainingExample(FULL, target_options(), labels, seed=6)
    assert other.augment(tf.constant(0, tf.int64), pair)[0].numpy().tobytes() not in seen


@pytest.mark.parametrize("color", [None, FULL.color], ids=["float", "uint8"])
def test_compiled_elements_are_the_same(labels, pair, color):
    plain = make(dataclasses.replace(FULL, color=color), labels, small_instance_area=100)
    compiled = dataclasses.replace(FULL, color=color, compile=True)
    compiled = make(compiled, labels, small_instance_area=100, compile=True)
    for number in tf.range(4, dtype=tf.int64):
        expected, values = plain(number, pair), compiled(number, pair)
        tf.nest.map_structure(np.testing.assert_array_equal, values, expected)


def test_no_ids_are_invented_and_pasted_ones_come_from_the_second(labels):
    first, second = example(50, 70, 1), example(50, 70, 2)
    first["panoptic"] = tf.where(first["panoptic"] >= 300, first["panoptic"], 301)
    second["panoptic"] = tf.where(second["panoptic"] >= 300, 200, second["panoptic"])
    options = dataclasses.replace(FULL, min_size=0, max_size=0, color=None)
    pasted_ids = set()
    for number in tf.range(20, dtype=tf.int64):
        _, label = make(options, labels).augment(number, (first, second))
        ids = label.numpy()
        semantic, instance = np.divmod(ids, 200)
        # Of the second come all things (classes 1 with instance 2, 99 and crowds) and grass.
        of_first = {0, *np.unique(first["panoptic"])}
        for one, inside in set(zip(semantic.ravel(), instance.ravel())):
            if inside >= 100:
                pasted_ids.add(100 * one + inside - 100)
            elif 100 * one + inside not in of_first:
                pasted_ids.add(100 * one + inside)
    assert pasted_ids == set(np.unique(second["panoptic"])) - {0}


def test_image_and_map_stay_together(labels, pair):
    """Where neighbours agree, resampling keeps values: the red channel tells the id.

    Not quite everywhere: a neighbour of another id may be hidden, by the crop or what is pasted.
    """
    options = dataclasses.replace(FULL, color=None)
    together = []
    for number in tf.range(10, dtype=tf.int64):
        image, label = make(options, labels).augment(number, pair)
        red, ids = image.numpy()[..., 0], label.numpy()
        semantic, instance = np.divmod(ids, 200)
        expected = (100 * semantic + instance % 100) // 10 * 4
        interior = maximum_filter(ids, 7) == minimum_filter(ids, 7)
        interior &= image.numpy()[..., 1] != PADDING_VALUE
        together.extend(np.abs(red - expected)[interior] < 1e-3)
    assert len(together) > 3000
    assert np.mean(together) > 0.97


def test_small_instances_are_weighed_after_pasting(labels):
    """An instance of which pasting leaves little weighs more."""
    ids = np.full(CROP, 301, np.int32)
    below = {"image": tf.zeros([*CROP, 3], tf.uint8), "panoptic": tf.constant(ids)}
    above_ids = np.full((66, 130), 200, np.int32)
    above = {"image": tf.zeros([66, 130, 3], tf.uint8), "panoptic": tf.constant(above_ids)}
    pasting = with_defaults(CopyPasteOptions, scale_factor=0.45, stuff="ALL")
    options = dataclasses.replace(PLAIN, copy_paste=pasting)
    maker = make(options, labels, small_instance_area=1000)
    _, targets = maker(tf.constant(0, tf.int64), (below, above))
    cat = targets["semantic_map"].numpy() == 3
    assert 0 < cat.sum() < 1000 < cat.size
    assert (targets["semantic_weights"].numpy()[cat] == 3).all()
    assert (targets["semantic_weights"].numpy()[~cat] == 1).all()
