"""A reply of an export passes its trial if it says what is expected, and not if it says else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.export import replies
from kmax_tf.export.expectation import Expectation, Image
from kmax_tf.labels import Category, LabelSpace

LABELS = LabelSpace(
    (Category(2, "cat", True, (1, 0, 0), 20), Category(1, "sky", False, (2, 0, 0), 10)),
    num_ids=3,
    ignore_label=0,
    label_divisor=100,
)
PANOPTIC = np.array([[201, 201, 100, 0], [201, 202, 100, 100], [0, 202, 202, 100]], np.int32)
IDS, SCORES = np.array([100, 201, 0, 202], np.int32), np.array([0.5, 0.25, 0.9, 0.75], np.float32)
MAPS = {
    "panoptic": PANOPTIC,
    "semantic": PANOPTIC // 100,
    "semantic_scores": PANOPTIC / np.float32(300),
    "segment_ids": IDS,
}
LOGITS = {
    "mask_logits": np.arange(12, dtype=np.float32).reshape(3, 4, 1),
    "class_logits": np.eye(4, dtype=np.float32),
}


class Fixed:
    """An inference that always says the same."""

    def fit(self, image):
        return tf.cast(image, tf.float32), tf.constant([3, 4])

    def __call__(self, inputs, maps):
        return {name: tf.constant(value[np.newaxis]) for name, value in MAPS.items()}

    def restore(self, values, fitted_size, size):
        return values

    def clean(self, maps):
        return maps

    def predict(self, inputs):
        return {name: tf.constant(value[np.newaxis]) for name, value in LOGITS.items()}


def table(things_only=False):
    found = replies.describe_segments(tf.constant(PANOPTIC), IDS, SCORES, LABELS, things_only)
    return {name: value.numpy()[np.newaxis] for name, value in found._asdict().items()}


def png(ids):
    return np.array([replies.encode_ids(tf.constant(ids), 299).numpy()], object)


def reply_of(signature):
    """Returns a right reply of one image."""
    if signature in ("serving_default", "image_bytes"):
        return {name: value[np.newaxis].copy() for name, value in MAPS.items()}
    if signature == "logits":
        return {name: value[np.newaxis].copy() for name, value in LOGITS.items()}
    if signature == "semantic":
        return {"semantic_png_bytes": png(PANOPTIC // 100)}
    if signature == "compact":
        return {"panoptic_png_bytes": png(PANOPTIC), **table()}
    segments = table(things_only=True)
    masks = replies.run_length_masks(tf.constant(PANOPTIC), segments["ids"][0, :2]).numpy()
    return {"counts": np.array([[*masks, b"", b""]], object), **segments}


def compare(signature, reply):
    encoded = np.array([b""], object)
    pixels = np.zeros((3, 4, 3), np.uint8)
    name = "images" if signature in ("serving_default", "logits") else "image_bytes"
    request = signature, {name: pixels[np.newaxis] if name == "images" else encoded}
    maps = ["panoptic", "semantic", "semantic_scores"]
    expectation = Expectation(Fixed(), [Image(b"", pixels)], maps)
    expectation.compare(request, reply, 0, LABELS)


CHANGED = PANOPTIC.copy()
CHANGED[1, 1] = 201


@pytest.mark.parametrize(
    ("signature", "output", "value"),
    [
        ("serving_default", "panoptic", CHANGED[np.newaxis]),
        ("serving_default", "semantic_scores", MAPS["semantic_scores"][np.newaxis] + 1e-3),
        ("image_bytes", "semantic", 3 - MAPS["semantic"][np.newaxis]),
        ("image_bytes", "segment_ids", IDS[np.newaxis, ::-1]),
        ("logits", "mask_logits", LOGITS["mask_logits"][np.newaxis] * 1.001),
        ("semantic", "semantic_png_bytes", png(CHANGED % 100)),
        ("compact", "panoptic_png_bytes", png(CHANGED)),
        ("compact", "areas", table()["areas"] + 1),
        ("compact", "count", table()["count"] - 1),
        ("instances", "counts", np.array([[b"0<", b"0<", b"", b""]], object)),
        ("instances", "ids", table()["ids"]),
    ],
)
def test_a_reply_that_says_else_is_told(signature, output, value):
    reply = reply_of(signature)
    compare(signature, reply)
    assert reply[output].shape == value.shape
    with pytest.raises(
        UserError, match=f"signature {signature}, image 0, .* nothing was published"
    ):
        compare(signature, {**reply, output: value})
