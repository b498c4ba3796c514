"""Every field of an experiment's losses reaches the loss."""

from __future__ import annotations

import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.matching import match_in_graph, match_on_host

FIELDS = {
    "pq_style.weight": ("pq_style_weight", 3.0, 1.5),
    "pq_style.matched_share": ("matched_share", 0.75, 0.5),
    "mask_id.weight": ("mask_id_weight", 0.3, 0.25),
    "instance_discrimination.weight": ("instance_discrimination_weight", 1.0, 0.5),
    "instance_discrimination.sample_count": ("sample_count", 4096, 77),
    "instance_discrimination.temperature": ("temperature", 0.3, 0.25),
    "instance_discrimination.sample_temperature": ("sample_temperature", 1.5, 0.5),
    "semantic.weight": ("semantic_weight", 1.0, 0.5),
    "semantic.top_fraction": ("semantic_top_fraction", 1.0, 0.5),
    "unmatched_gradient": ("unmatched_gradient", True, False),
}


def load(*overrides):
    return build_loss(kmax_tf.load_experiment("coco/resnet50.textproto", overrides))


def test_published_values():
    options = load().options
    assert options.num_classes == 133
    assert options.ignore_label == 0
    for attribute, published, _ in FIELDS.values():
        assert getattr(options, attribute) == pytest.approx(published), attribute


@pytest.mark.parametrize("field", FIELDS)
def test_field_reaches_the_option(field):
    attribute, _, other = FIELDS[field]
    text = str(other).lower()
    assert getattr(load(f"losses.{field}={text}").options, attribute) == other


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
