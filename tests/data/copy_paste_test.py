import itertools

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.data.copy_paste import (
    CopyPasteOptions,
    chosen_ids,
    padding_id,
    paste,
    room_for_pasting,
)
from tests.options import with_defaults

SEED = tf.constant([3, 4])


def ids_of(chosen):
    return set(np.nonzero(chosen.numpy())[0])


@pytest.mark.parametrize(("things", "stuff", "void"), itertools.product(["all", "none"], repeat=3))
def test_pasting_is_that_recorded(recorded_augmentation, golden_labels, things, stuff, void):
    labels = golden_labels["coco_b"]
    arrays = {
        key.replace("copypaste/", ""): tf.constant(value)
        for key, value in recorded_augmentation.items()
        if key.startswith("copypaste/")
    }
    options = with_defaults(
        CopyPasteOptions, things=things.upper(), stuff=stuff.upper(), void=void.upper()
    )
    above = arrays["paste_image"], arrays["paste_label"]
    chosen = chosen_ids(above[1], tf.constant(True), SEED, labels, options)
    image, label = paste((arrays["image"], arrays["label"]), above, chosen, labels)
    # Recorded ids count pasted instances down from label_divisor - 1.
    divisor = labels.label_divisor
    classes, instance = label.numpy() // (2 * divisor), label.numpy() % (2 * divisor)
    instance = np.where(instance >= divisor, divisor - 1 - (instance - divisor), instance)
    expected = recorded_augmentation[f"copypaste/{things}_{stuff}_{void}/label"]
    np.testing.assert_array_equal(classes * divisor + instance, expected)
    mask = tf.gather(chosen, arrays["paste_label"]).numpy()[..., np.newaxis]
    np.testing.assert_array_equal(image, np.where(mask, above[0], arrays["image"]))
    recorded_image = arrays.get(f"{things}_{stuff}_{void}/image")
    if recorded_image is not None:
        np.testing.assert_array_equal(image, recorded_image)


def test_random_choices_are_of_every_number_each_as_likely(labels):
    # Cat 1 and 2, dog 1, grass, unlabeled, and padding beside them.
    seen = tf.constant([[301, 302, 101], [200, 0, padding_id(labels)]])
    options = with_defaults(CopyPasteOptions, things="RANDOM", stuff="RANDOM", void="RANDOM")
    choose = tf.function(lambda seed: chosen_ids(seen, tf.constant(False), seed, labels, options))
    sets = [ids_of(choose(tf.constant([number, 0]))) for number in range(300)]
    assert set.union(*sets) == {301, 302, 101, 200, 0}
    # Of 6 ids 0 to 6 are drawn; each is in half of the draws.
    for panoptic_id in (301, 101, 200, 0):
        assert 120 < sum(panoptic_id in chosen for chosen in sets) < 180
    assert 25 < sum(not chosen for chosen in sets) < 75  # 1/7 of none and 1/42 of padding alone
    assert 25 < sum(len(chosen) == 5 for chosen in sets) < 75


def test_ids_of_no_class_are_not_pasted(labels):
    seen = tf.constant([[401, -7, 10**6, 301]])
    options = with_defaults(CopyPasteOptions, things="ALL", stuff="ALL", void="ALL")
    chosen = chosen_ids(seen, tf.constant(False), SEED, labels, options)
    assert ids_of(chosen) == {301}
    image = tf.zeros([1, 4, 3])
    _, label = paste((image, seen * 0), (image, seen), chosen, labels)
    assert label.numpy().tolist() == [[0, 0, 0, 3 * 200 + 101]]


def test_instances_never_meet_whatever_their_ids(labels):
    below = tf.constant([[301, 399, 398, 200]])
    above = tf.constant([[398, 301, 300, 1]])
    image = tf.zeros([1, 4, 3])
    chosen = chosen_ids(above, tf.constant(False), SEED, labels, with_defaults(CopyPasteOptions))
    _, label = paste((image, below), (image + 9, above), chosen, labels)
    _, all_below = paste((image, below), (image, above), tf.zeros_like(chosen), labels)
    room = room_for_pasting(labels).label_divisor
    assert room == 200
    assert (label.numpy() // room).tolist() == [[3, 3, 3, 2]]
    assert not {*label.numpy()[0, :2]} & {*all_below.numpy()[0]}
    assert label.numpy()[0, 2] == 600  # a crowd stays one
