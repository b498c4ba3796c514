"""The whole loss against its oracle, and properties that any loss of segments has."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.losses.instance_discrimination import InstanceDiscrimination
from kmax_tf.losses.kmax_loss import KMaXLoss, total_loss
from kmax_tf.losses.mask_id import MaskId
from kmax_tf.losses.matching import match_in_graph, match_on_host
from kmax_tf.losses.pq_style import PqClass, PqMask
from kmax_tf.losses.semantic import Semantic
from kmax_tf.losses.truth import TruthOptions
from tests.losses.problems import IGNORE, random_problem
from tests.options import with_defaults
from tests.reference import layers_oracle, losses_oracle

PIXELS = 35
OPTIONS = TruthOptions(num_classes=4, ignore_label=IGNORE, unmatched_gradient=False)
SPREAD = dataclasses.replace(OPTIONS, unmatched_gradient=True)
TERMS = [
    with_defaults(PqMask),
    with_defaults(PqClass),
    with_defaults(MaskId),
    # All pixels, so that nothing is random.
    with_defaults(InstanceDiscrimination, sample_count=PIXELS),
    with_defaults(Semantic),
]


def loss_of(options=OPTIONS, match=match_on_host, terms=TERMS):
    return KMaXLoss(terms, options, match)


@pytest.fixture
def problem():
    return random_problem()


def flat(array):
    return array.reshape(-1, array.shape[-1]).astype(np.float64)


def expected_terms(problem, image):
    """Returns the oracle's value of each term of one image."""
    predictions = problem.predictions
    segments, labeled, classes = problem.image(image)
    truth = losses_oracle.Truth(
        flat(predictions["mask_logits"][image]),
        predictions["class_logits"][image].astype(np.float64),
        segments,
        labeled,
        classes,
    )
    terms = {}
    for block, prediction in enumerate([predictions, *predictions["intermediate"]]):
        maps = [
            flat(layers_oracle.resize(prediction[key][image : image + 1].astype(np.float64), 5, 7))
            for key in ("mask_logits", "pixel_embeddings")
        ]
        class_logits = prediction["class_logits"][image].astype(np.float64)
        values = {
            "pq_mask": losses_oracle.pq_mask(truth, maps[0]),
            "pq_class": losses_oracle.pq_class(truth, class_logits),
            "mask_id": losses_oracle.mask_id(truth, maps[0]),
            "instance_discrimination": losses_oracle.instance_discrimination(maps[1], truth.masks),
        }
        prefix = f"block{block}/" if block else ""
        terms.update({prefix + name: value for name, value in values.items()})
    terms["semantic"] = losses_oracle.semantic(
        flat(predictions["semantic_logits"][image]),
        problem.targets["semantic_map"][image, ::8, ::8].ravel(),
        problem.targets["semantic_weights"][image, ::8, ::8].ravel(),
        IGNORE,
    )
    return terms


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("match", [match_on_host, match_in_graph])
def test_equals_the_oracle(seed, match):
    problem = random_problem(seed)
    terms = loss_of(match=match).per_example(*problem.tensors())
    for image in range(2):
        expected = expected_terms(problem, image)
        assert set(terms) == set(expected)
        for name, value in expected.items():
            assert float(terms[name][image]) == pytest.approx(value, rel=1e-4), (name, image)


def test_call_gives_means_over_the_batch(problem):
    loss = loss_of()
    tensors = problem.tensors()
    examples = loss.per_example(*tensors)
    for name, value in loss(*tensors).items():
        assert value.shape == []
        assert float(value) == pytest.approx(float(tf.reduce_mean(examples[name])), rel=1e-6)


@pytest.mark.parametrize("off", [*([i] for i in range(5)), [0, 1, 3, 4]])
def test_term_names_are_those_that_come(problem, off):
    terms = [dataclasses.replace(t, weight=0.0) if i in off else t for i, t in enumerate(TERMS)]
    loss = loss_of(terms=terms)
    targets, predictions = problem.tensors()
    assert loss.term_names(predictions) == list(loss(targets, predictions))
    assert {name.split("/")[-1] for name in loss.term_names(predictions)} == {
        term.name for term in terms if term.weight
    }
    del predictions["semantic_logits"], predictions["intermediate"]
    assert loss.term_names(predictions) == list(loss(targets, predictions))


def test_weights_are_factors(problem):
    tensors = problem.tensors()
    plain = loss_of()(*tensors)
    for changed in TERMS:
        doubled = dataclasses.replace(changed, weight=2 * changed.weight)
        terms = [doubled if term is changed else term for term in TERMS]
        for name, value in loss_of(terms=terms)(*tensors).items():
            factor = 2.0 if name.split("/")[-1] == changed.name else 1.0
            assert float(value) == pytest.approx(factor * float(plain[name]), rel=1e-5), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_terms_are_not_negative_and_blind_to_the_order_of_segments(seed):
    problem = random_problem(seed)
    loss = loss_of()
    plain = loss.per_example(*problem.tensors())
    assert all((value.numpy() >= 0).all() for value in plain.values())
    order = np.random.default_rng(seed).permutation(5)
    targets = dict(problem.targets)
    new_index = np.append(np.argsort(order), -1).astype(np.int32)  # -1 stays -1
    targets["segment_map"] = new_index[targets["segment_map"]]
    targets["segment_classes"] = targets["segment_classes"][:, order]
    permuted = loss.per_example(targets, problem.tensors()[1])
    for name, value in permuted.items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-4, atol=1e-6, err_msg=name)


PADDED = {
    "more": lambda classes: tf.pad(classes, [[0, 0], [0, 9]], constant_values=-1),
    "segments without a pixel on the grid": lambda classes: tf.where(classes < 0, 3, classes),
}


@pytest.mark.parametrize("padded", PADDED)
def test_padding_changes_nothing(problem, padded):
    loss = loss_of()
    targets, predictions = problem.tensors()
    plain = loss.per_example(targets, predictions)
    targets["segment_classes"] = PADDED[padded](targets["segment_classes"])
    for name, value in loss.per_example(targets, predictions).items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-5, err_msg=name)


def gradients(loss, targets, predictions):
    """Returns all terms and the gradient of their sum; intermediate predictions left out."""
    predictions = {key: value for key, value in predictions.items() if key != "intermediate"}
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        terms = loss(targets, predictions)
        total = total_loss(terms)
    return terms, tape.gradient(total, predictions, unconnected_gradients="zero")


def assert_finite(terms, gradient):
    for name, value in {**terms, **gradient}.items():
        assert np.isfinite(value).all(), name


def uniform_targets(segment, semantic, classes):
    return {
        "semantic_map": tf.fill([2, 17, 25], semantic),
        "segment_map": tf.fill([2, 17, 25], segment),
        "segment_classes": tf.constant([classes] * 2, tf.int32),
        "semantic_weights": tf.ones([2, 17, 25]),
    }


@pytest.mark.parametrize("match", [match_on_host, match_in_graph])
@pytest.mark.parametrize("unmatched_gradient", [False, True])
@pytest.mark.parametrize(
    "targets",
    [
        uniform_targets(-1, IGNORE, [-1, -1]),
        uniform_targets(-1, 3, [-1, -1]),
        uniform_targets(0, 3, [2, -1]),
    ],
    ids=["all unlabeled", "all crowd", "one segment"],
)
def test_bare_images_give_finite_losses(problem, targets, unmatched_gradient, match):
    options = SPREAD if unmatched_gradient else OPTIONS
    terms, gradient = gradients(loss_of(options, match), targets, problem.tensors()[1])
    assert_finite(terms, gradient)
    if targets["segment_classes"][0, 0] < 0:  # no segment
        for name in ("pq_mask", "mask_id", "instance_discrimination"):
            assert float(terms[name]) == 0.0


@pytest.mark.parametrize("match", [match_on_host, match_in_graph])
def test_more_segments_than_centers_gives_finite_losses(problem, match):
    targets, predictions = problem.tensors()
    predictions = {
        **predictions,
        "mask_logits": predictions["mask_logits"][..., :2],
        "class_logits": predictions["class_logits"][:, :2],
    }
    terms, gradient = gradients(loss_of(match=match), targets, predictions)
    assert_finite(terms, gradient)
    assert float(terms["pq_mask"]) > 0


def unlabeled_on_grid(problem):
    return problem.targets["semantic_map"][:, ::4, ::4] == IGNORE


def test_unlabeled_pixels_get_no_gradient(problem):
    targets, predictions = problem.tensors()
    _, gradient = gradients(loss_of(), targets, predictions)
    unlabeled = unlabeled_on_grid(problem)
    assert unlabeled.any()
    assert (gradient["mask_logits"].numpy()[unlabeled] == 0).all()
    assert (gradient["mask_logits"].numpy()[~unlabeled] != 0).any()
    unlabeled = problem.targets["semantic_map"][:, ::8, ::8] == IGNORE
    assert (gradient["semantic_logits"].numpy()[unlabeled] == 0).all()


def test_unmatched_gradient_changes_gradients_of_crowds_but_no_value(problem):
    targets, predictions = problem.tensors()
    plain = gradients(loss_of(), targets, predictions)
    spread = gradients(loss_of(SPREAD), targets, predictions)
    for name, value in spread[0].items():
        assert float(value) == pytest.approx(float(plain[0][name]), rel=1e-6), name
    differs = np.abs(spread[1]["mask_logits"] - plain[1]["mask_logits"]).max(-1) > 1e-7
    crowd = (problem.targets["segment_map"] < 0)[:, ::4, ::4] & ~unlabeled_on_grid(problem)
    np.testing.assert_array_equal(differs, crowd)


def test_perfect_predictions_have_almost_no_loss():
    problem = random_problem(3)
    segments = problem.targets["segment_map"][:, ::4, ::4]
    classes = problem.targets["segment_classes"]
    masks = 60.0 * np.eye(6, dtype=np.float32)[np.maximum(segments, 0)]
    masks[segments < 0] = 60.0 * np.eye(6, dtype=np.float32)[5]
    labels = np.full([2, 6], 4)
    labels[:, :4] = np.where(
        [[(s == i).any() for i in range(4)] for s in segments], classes[:, :4], 4
    )
    embeddings = np.eye(6, dtype=np.float32)[np.maximum(segments, 0)]
    predictions = {
        "mask_logits": masks,
        "class_logits": 60.0 * np.eye(5, dtype=np.float32)[labels],
        "pixel_embeddings": embeddings,
    }
    terms = loss_of()(*tf.nest.map_structure(tf.constant, (problem.targets, predictions)))
    assert float(terms["pq_class"]) < 1e-4
    assert float(terms["mask_id"]) < 1e-4
    # Crowds take no space, as dice counts pixels of segments only.
    assert float(terms["pq_mask"]) < 1e-4


def test_is_the_same_in_a_graph_and_under_xla(problem):
    tensors = problem.tensors()
    plain = loss_of()(*tensors)
    runs = [
        tf.function(loss_of()),
        tf.function(loss_of(match=match_in_graph), jit_compile=True),
    ]
    for run in runs:
        for name, value in run(*tensors).items():
            assert float(value) == pytest.approx(float(plain[name]), rel=1e-4), name
