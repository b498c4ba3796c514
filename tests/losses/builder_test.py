"""Every field of an experiment's losses reaches the loss."""

from __future__ import annotations

import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.matching import match_in_graph, match_on_host


def load(*overrides):
    return build_loss(kmax_tf.load_experiment("coco/resnet50.textproto", overrides))


def test_compiled_steps_match_in_the_graph():
    assert load().match is match_on_host
    assert load("runtime.jit_compile=true").match is match_in_graph
    assert load("runtime.strategy=TPU").match is match_in_graph


@pytest.mark.parametrize("overrides", [[], ["runtime.jit_compile=true"]])
def test_matching_resolution_reaches_the_matcher(overrides):
    """0.74 + 0 is more than 0.26 + 0.26, but not in halves."""
    similarity, valid = tf.constant([[[0.74, 0.26], [0.26, 0.0]]]), tf.constant([[True, True]])
    centers = {
        resolution: load(f"losses.matching_resolution={resolution}", *overrides)
        .match(similarity, valid)
        .center_of_segment.numpy()
        .tolist()
        for resolution in (0, 0.5)
    }
    assert centers == {0: [[0, 1]], 0.5: [[1, 0]]}
