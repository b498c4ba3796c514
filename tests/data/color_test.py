import json

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.data.color import OPERATIONS, ColorPolicy, Step, random_color

PUBLISHED = ("simple_classification_policy", "simple_classification_policy_magnitude_scale_0.2")


def random_image(height=9, width=7, low=0, high=256, seed=0):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("policy", PUBLISHED)
def test_operations_are_those_recorded(recorded_augmentation, policy):
    image = tf.constant(recorded_augmentation["color/in"])
    sequences = json.loads(str(recorded_augmentation["color/policies_json"]))[policy]
    assert len(sequences) == 5
    for number, steps in enumerate(sequences):
        for place, (name, _, level) in enumerate(steps):
            changed = OPERATIONS[name.upper()](level)(image)
            expected = recorded_augmentation[f"color/{policy}/{number}_{place}_{name}"]
            np.testing.assert_array_equal(changed, expected, err_msg=f"{name} {level}")


def test_policies_of_the_configs_are_those_recorded(recorded_augmentation):
    from kmax_tf.config import load_experiment
    from kmax_tf.data.builder import training_example

    recorded = json.loads(str(recorded_augmentation["color/policies_json"]))
    for dataset, name in zip(("coco", "cityscapes", "ade20k"), (*PUBLISHED, PUBLISHED[0])):
        experiment = load_experiment(f"{dataset}/resnet50.textproto")
        policy = training_example(experiment).options.color
        assert len(policy.sequences) == len(recorded[name])
        for steps, expected in zip(policy.sequences, recorded[name]):
            for step, (operation_name, probability, level) in zip(steps, expected):
                assert step.operation == operation_name.upper()
                assert step.probability == pytest.approx(probability)
                assert step.level == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("level", [0.0, 2.5, 10.0])
def test_operations_without_recordings_are_those_of_pillow(level):
    from PIL import Image, ImageOps

    image = random_image(30, 20, 40, 200)
    pil = Image.fromarray(image)
    pairs = {
        "INVERT": ImageOps.invert(pil),
        "SOLARIZE": ImageOps.solarize(pil, int(level / 10 * 256)),
    }
    bits = int(level / 10 * 4)
    if bits:
        pairs["POSTERIZE"] = ImageOps.posterize(pil, bits)
    for name, expected in pairs.items():
        changed = OPERATIONS[name](level)(tf.constant(image))
        np.testing.assert_array_equal(changed, np.asarray(expected), err_msg=name)
    stretched = OPERATIONS["AUTOCONTRAST"](level)(tf.constant(image)).numpy().astype(int)
    # Pillow computes in double, which rounds down to another integer at times.
    assert np.abs(stretched - np.asarray(ImageOps.autocontrast(pil)).astype(int)).max() <= 1
    assert (stretched.min((0, 1)) == 0).all()
    assert (stretched.max((0, 1)) == 255).all()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (64, 3)])
def test_operations_take_images_of_any_size_and_one_color(name, shape):
    apply = tf.function(
        OPERATIONS[name](9.0), input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)]
    )
    for image in (random_image(*shape), np.full((*shape, 3), 77, np.uint8)):
        changed = apply(tf.constant(image))
        assert changed.dtype == tf.uint8
        np.testing.assert_array_equal(changed, OPERATIONS[name](9.0)(tf.constant(image)))
    if name in ("EQUALIZE", "AUTOCONTRAST", "COLOR", "SHARPNESS", "CONTRAST_TO_MEAN_GREY"):
        np.testing.assert_array_equal(changed, image)  # one grey stays what it is


def test_contrast_fades_to_what_its_field_says():
    image = np.full((100, 128, 3), 200, np.uint8)  # 50 = 12800 / 256
    image[:50] = 100

    def faded(target):  # by a factor of 0.1
        policy = ColorPolicy(((Step("CONTRAST", 1.0, 0.0),),), target)
        return random_color(tf.constant(image), tf.constant([0, 0]), policy).numpy()

    published = faded("PIXEL_COUNT")
    assert published[0, 0, 0] == 55
    assert published[-1, 0, 0] == 65
    clean = faded("MEAN_GREY")
    assert clean[0, 0, 0] == pytest.approx(145, abs=1)
    assert clean[-1, 0, 0] == pytest.approx(155, abs=1)


def test_sequences_and_probabilities_are_drawn_from_the_seed():
    image = tf.constant(random_image(4, 4, 0, 100))
    half = ColorPolicy(
        ((Step("INVERT", 0.5, 0), Step("SOLARIZE", 1.0, 10)), (Step("POSTERIZE", 1.0, 10),)),
        "PIXEL_COUNT",
    )
    inverted, posterized = image.numpy() ^ 255, image.numpy() & 0xF0
    pipeline = tf.data.Dataset.range(300).map(
        lambda seed: random_color(image, tf.stack([seed, 5]), half)
    )
    counts = {"same": 0, "inverted": 0, "posterized": 0}
    for number, changed in enumerate(pipeline):
        if number < 5:
            again = random_color(image, tf.constant([number, 5], tf.int64), half)
            np.testing.assert_array_equal(changed, again)
        for name, value in (("same", image), ("inverted", inverted), ("posterized", posterized)):
            counts[name] += np.array_equal(changed, value)
    assert sum(counts.values()) == 300
    assert 120 < counts["posterized"] < 180
    assert 50 < counts["inverted"] < 100
