"""Replies made in a graph equal what NumPy, Pillow and pycocotools make of the same maps."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import PIL.Image
import pytest
import scipy.spatial
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_masks

from kmax_tf.export import replies
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.coco_results import encode_panoptic

DIVISOR = 100
LABELS = LabelSpace(
    (Category(2, "cat", True, (1, 0, 0), 20), Category(1, "sky", False, (2, 0, 0), 10)),
    num_ids=3,
    ignore_label=0,
    label_divisor=DIVISOR,
)
IDS = (0, 100, 201, 202, 205)

maps = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).choice(IDS, drawn[:2]).astype(np.int32)
)
run_length_masks = tf.function(
    replies.run_length_masks,
    input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)],
    autograph=False,
)


@settings(max_examples=40, deadline=None)
@given(maps, st.booleans())
def test_segments_are_those_of_the_coco_format(panoptic, things_only):
    of_centers = np.array([100, 201, 202, 0, 100, 205, 299], np.int32)
    scores = np.array([0.5, 0.25, 0.75, 0.9, 0.625, 0.125, 1.0], np.float32)
    found = replies.describe_segments(panoptic, of_centers, scores, LABELS, things_only)
    best = {100: 0.625, 201: 0.25, 202: 0.75, 205: 0.125}
    _, expected = encode_panoptic(panoptic, LABELS, best)
    expected = [segment for segment in expected if segment["isthing"] or not things_only]
    expected.sort(key=lambda segment: -segment["score"])
    count = int(found.count)
    assert count == len(expected)
    assert all(len(values) == len(of_centers) for values in found[:-1])
    assert found.ids[count:].numpy().tolist() == [0] * (len(of_centers) - count)
    for place, segment in enumerate(expected):
        assert found.class_ids[place] == {20: 2, 10: 1}[segment["category_id"]]
        assert found.ids[place] == found.class_ids[place] * DIVISOR + segment["instance"]
        assert found.areas[place] == segment["area"]
        assert found.boxes[place].numpy().tolist() == segment["bbox"]
        assert found.scores[place] == segment["score"]


@settings(max_examples=60, deadline=None)
@given(maps)
def test_run_lengths_are_those_of_pycocotools(panoptic):
    ids = np.array([205, 100, 999, 202], np.int32)
    found = run_length_masks(tf.constant(panoptic), tf.constant(ids)).numpy()
    for counts, panoptic_id in zip(found, ids):
        mask = np.asfortranarray(panoptic == panoptic_id, np.uint8)
        assert counts == rle_masks.encode(mask)["counts"]


def test_run_lengths_of_long_runs():
    panoptic = np.zeros((700, 900), np.int32)
    panoptic[3, 5] = panoptic[690, 899] = 201
    panoptic[:, 300:700] = 202
    found = run_length_masks(tf.constant(panoptic), tf.constant([201, 202, 0])).numpy()
    for counts, panoptic_id in zip(found, (201, 202, 0)):
        mask = np.asfortranarray(panoptic == panoptic_id, np.uint8)
        assert counts == rle_masks.encode(mask)["counts"]


@pytest.mark.parametrize("divisor", [256, 1000], ids=["16 bits", "RGB"])
def test_a_busy_picture_is_a_small_reply(divisor):
    rng = np.random.default_rng(0)
    # 128 segments, whose outlines waver from pixel to pixel, of 1920 x 1080.
    y, x = np.mgrid[:1080, :1920] + rng.normal(0, 1.5, (2, 1080, 1920))
    seeds = rng.uniform((0, 0), (1080, 1920), (128, 2)).astype(np.float32)
    _, nearest = scipy.spatial.cKDTree(seeds).query(np.stack([y, x], -1), workers=1)
    of_centers = (rng.integers(1, 134, 128) * divisor + np.arange(1, 129)).astype(np.int32)
    panoptic = of_centers[nearest]
    labels = dataclasses.replace(LABELS, num_ids=134, label_divisor=divisor)
    scores = rng.uniform(0, 1, 128).astype(np.float32)
    segments = replies.describe_segments(panoptic, of_centers, scores, labels)
    assert segments.count == 128
    png = replies.encode_ids(panoptic, 134 * divisor - 1).numpy()
    # As TensorFlow Serving writes it.
    reply = {name: value.numpy().tolist() for name, value in segments._asdict().items()}
    reply["panoptic_png_bytes"] = {"b64": base64.b64encode(png).decode()}
    assert len(json.dumps({"predictions": [reply]}, indent=4)) < 200_000


@pytest.mark.parametrize("largest", [255, 256, 65535, 65536, 2**24 - 1, 2**24, 2**31 - 1])
def test_ids_survive_a_png_of_the_fewest_bytes(largest):
    ids = np.array([[0, 1, largest], [largest // 2, largest - 1, 77]], np.int32)
    png = replies.encode_ids(tf.constant(ids), largest).numpy()
    pixels = np.asarray(PIL.Image.open(io.BytesIO(png)))
    channels = pixels.reshape(*ids.shape, -1).astype(np.int64)
    weights = 256 ** np.arange(channels.shape[2])
    np.testing.assert_array_equal((channels * weights).sum(axis=2), ids)
    assert channels.shape[2] == (1 if largest < 2**16 else 3 if largest < 2**24 else 4)
    if largest < 256:
        assert pixels.dtype == np.uint8
