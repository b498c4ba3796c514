"""Images of a batch at their own sizes, and at the size that the network saw."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.inference import Inference
from kmax_tf.postprocessing.postprocessor import MAPS
from tests.training.tiny import tiny_experiment

# Of the network's input 9 x 9, the image covers 5 x 9; itself it is 3 x 5.
RAW, FITTED, INPUT = (3, 5), (5, 9), (9, 9)


@pytest.fixture(scope="module")
def inference():
    return Inference(tiny_experiment())


def batch():
    rng = np.random.default_rng(0)
    maps = {name: tf.constant(rng.integers(0, 50, (1, *INPUT)), tf.int32) for name in MAPS}
    truth = np.full((1, 4, 7), 99, np.int32)  # padded to the batch's largest
    truth[0, :3, :5] = np.arange(15).reshape(RAW)
    raw = {
        "image_id": tf.constant(["cam1/a"]),
        "source_id": tf.constant(["7"]),
        "raw_size": tf.constant([RAW]),
        "fitted_size": tf.constant([FITTED]),
        "panoptic": tf.constant(truth),
    }
    return tf.zeros([1, *INPUT, 3]), maps, raw


def test_at_the_size_of_the_image(inference):
    images, maps, raw = batch()
    (image,) = inference.by_image(images, maps, raw)
    assert (image.image_id, image.source_id) == ("cam1/a", "7")
    np.testing.assert_array_equal(image.truth, np.arange(15).reshape(RAW))
    for name, values in image.prediction.items():
        np.testing.assert_array_equal(values, maps[name][0, :5:2, ::2])
    assert image.image().shape == (*RAW, 3)


def test_at_the_size_that_the_network_saw(inference):
    images, maps, raw = batch()
    (image,) = inference.by_image(images, maps, raw, "model")
    assert image.truth.shape == FITTED
    np.testing.assert_array_equal(image.truth[::2, ::2], np.arange(15).reshape(RAW))
    assert set(image.truth.ravel().tolist()) == set(range(15))
    for name, values in image.prediction.items():
        np.testing.assert_array_equal(values, maps[name][0, :5, :9])
    assert image.image().shape == (*FITTED, 3)


@pytest.mark.parametrize("resolution", ["original", "model"])
def test_an_empty_share_of_a_batch_has_no_images(inference, resolution):
    images, maps, raw = batch()
    nothing = {name: values[:0] for name, values in raw.items()}
    assert list(inference.by_image(images, maps, nothing, resolution)) == []
