"""Averaged views: those that agree change nothing, and those that don't count alike."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.postprocessing.views import Views
from tests.options import with_defaults
from tests.reference.layers_oracle import softmax

IMAGES = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 65, 97, 3]), tf.float32)
CLASSES = np.random.default_rng(1).normal(size=[6, 5], scale=3).astype("f4")
COLORS = tf.constant(np.random.default_rng(2).normal(size=[3, 6], scale=0.1), tf.float32)


class Network:
    """A network that looks at each pixel alone, so that views of an image agree."""

    def __init__(self):
        self.sizes, self.calls = [], 0

    def __call__(self, images):
        self.sizes.append(tuple(images.shape[1:3]))
        masks = tf.matmul(images[:, ::4, ::4], COLORS)  # [B, h, w, N]
        classes = tf.constant(np.stack([CLASSES] * images.shape[0]))
        # Each call numbers its centers in another order.
        order = np.roll(np.arange(6), self.calls)
        self.calls += 1
        return {
            "mask_logits": tf.gather(masks, order, axis=3),
            "class_logits": tf.gather(classes, order, axis=1),
        }


def test_one_view_is_the_prediction_itself():
    predictions = with_defaults(Views)(Network(), IMAGES)
    assert predictions.keys() == {"mask_logits", "class_logits"}


def test_a_mirrored_view_that_agrees_changes_nothing():
    alone, averaged = Network()(IMAGES), with_defaults(Views, flip=True)(Network(), IMAGES)
    for name, axis in (("mask_logits", -1), ("class_logits", -1)):
        expected = tf.nn.softmax(alone[name], axis=axis)
        np.testing.assert_allclose(
            tf.nn.softmax(averaged[name], axis=axis), expected, atol=1e-6, err_msg=name
        )
    masks, classes = (softmax(alone[name].numpy()) for name in ("mask_logits", "class_logits"))
    np.testing.assert_allclose(
        averaged["class_maps"], np.einsum("bhwn,bnk->bhwk", masks, classes[..., :-1]), atol=1e-6
    )


def test_every_scale_is_seen_and_mirrored():
    network = Network()
    averaged = with_defaults(Views, scales=(0.5, 1.5), flip=True)(network, IMAGES)
    assert network.sizes == [(65, 97)] * 2 + [(33, 65)] * 2 + [(97, 129)] * 2
    assert averaged["mask_logits"].shape == [2, 17, 25, 6]
    sums = tf.reduce_sum(tf.exp(averaged["mask_logits"]), axis=-1)
    np.testing.assert_allclose(sums, np.ones([2, 17, 25]), rtol=1e-5)
    assert (tf.reduce_sum(averaged["class_maps"], axis=-1) <= 1 + 1e-5).numpy().all()


def test_a_smooth_image_is_predicted_alike_at_every_scale():
    ramp = np.linspace(0, 255, 97) * np.linspace(0.5, 1, 65)[:, np.newaxis]
    images = tf.constant(np.stack([ramp, 255 - ramp, ramp], axis=-1)[np.newaxis], tf.float32)
    alone, averaged = Network()(images), with_defaults(Views, scales=(2.0,))(Network(), images)
    expected = tf.nn.softmax(alone["mask_logits"])
    np.testing.assert_allclose(tf.nn.softmax(averaged["mask_logits"]), expected, atol=2e-2)


@pytest.mark.parametrize("found_again", [True, False])
def test_centers_without_a_partner_keep_what_the_image_says(found_again):
    masks = np.full([1, 4, 4, 2], -20.0, np.float32)
    masks[:, :, :2, 0] = masks[:, :, 2:, 1] = 20.0
    classes = np.array([[[9.0, 0, 0], [0, 9.0, 0]]], np.float32)
    other = masks[..., ::-1] if found_again else np.zeros_like(masks)
    swapped = classes[:, ::-1] if found_again else np.array([[[0, 0, 9.0]] * 2], np.float32)
    answers = [(masks, classes), (other[:, :, ::-1], swapped)]

    def network(_):
        mask_logits, class_logits = answers.pop(0)
        return {
            "mask_logits": tf.constant(mask_logits.copy()),
            "class_logits": tf.constant(class_logits.copy()),
        }

    averaged = with_defaults(Views, flip=True)(network, tf.zeros([1, 13, 13, 3]))
    np.testing.assert_array_equal(averaged["mask_logits"].numpy().argmax(-1), masks.argmax(-1))
    np.testing.assert_array_equal(averaged["class_logits"].numpy().argmax(-1), [[0, 1]])
    # The semantic probabilities are a mean over views in any case.
    share = averaged["class_maps"].numpy().sum(axis=-1)
    assert share.min() > 0.9 if found_again else share.max() < 0.6


def test_sizes_may_be_unknown_until_the_call():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def predict(images):
        classes = tf.repeat(tf.constant(CLASSES)[tf.newaxis], tf.shape(images)[0], axis=0)

        def network(view):
            masks = tf.einsum("bhwc,cn->bhwn", view[:, ::4, ::4], COLORS)
            return {"mask_logits": masks, "class_logits": classes}

        return with_defaults(Views, scales=(0.5, 1.5), flip=True)(network, images)

    expected = with_defaults(Views, scales=(0.5, 1.5), flip=True)(Network(), IMAGES)
    np.testing.assert_allclose(predict(IMAGES)["class_maps"], expected["class_maps"], atol=1e-5)
