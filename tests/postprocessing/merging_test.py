"""Merging against its oracle, its two forms against each other, and what any map must fulfil."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf import ops
from kmax_tf.postprocessing.merging import MaskWise, PixelWise
from kmax_tf.postprocessing.merging_by_cells import MaskWiseByCells, PixelWiseByCells
from kmax_tf.postprocessing.postprocessor import Postprocessor, RejectionReason
from tests.options import with_defaults
from tests.reference import merging_oracle
from tests.reference.panoptic_maps import CAT_1, CAT_2, DOG_1, LABELS, ROADS, UNLABELED, VOID

STRIDE = 2


def mask_wise(thing_threshold=0.7, stuff_threshold=0.7, *options, **named):
    """Returns the merging with one threshold for both things and one for both kinds of stuff."""
    thresholds = (thing_threshold, thing_threshold, stuff_threshold, stuff_threshold)
    names = ("overlap_threshold", "class_weight", "mask_weight")
    given = {"class_thresholds": thresholds, **dict(zip(names, options)), **named}
    return with_defaults(MaskWise, **given)


def pixel_wise(threshold=0.7):
    """Returns the merging with one threshold for all classes."""
    return PixelWise((threshold,) * 4)


def postprocessor(merging, stride=STRIDE, **options):
    """Returns the post-processing of LABELS."""
    named = {"labels": LABELS, "merging": merging, "output_stride": stride}
    return with_defaults(Postprocessor, **named, **options)


def by_cells(merging):
    """Returns the form for CPUs of a merging."""
    form = MaskWiseByCells if isinstance(merging, MaskWise) else PixelWiseByCells
    return form(**vars(merging))


def as_defined(merging):
    """Returns the merging itself."""
    return merging


both_forms = pytest.mark.parametrize("form", [as_defined, by_cells], ids=["definition", "cells"])


def random_predictions(seed, batch=1, height=4, width=5, centers=6, sharpness=6.0):
    rng = np.random.default_rng(seed)
    # Smooth, so that masks are regions; and sure of classes, so that some pass the thresholds.
    coarse = rng.normal(size=[batch, 2, 2, centers], scale=sharpness)
    masks = tf.compat.v1.image.resize_bilinear(coarse, [height, width], align_corners=True).numpy()
    masks += rng.normal(size=masks.shape, scale=0.5)
    classes = rng.normal(size=[batch, centers, 5], scale=4.0)
    return {
        "mask_logits": masks.astype(np.float32),
        "class_logits": classes.astype(np.float32),
    }


def run(merging, predictions, **options):
    result = postprocessor(merging, **options)(tf.nest.map_structure(tf.constant, predictions))
    return {key: value.numpy() for key, value in result.items()}


def check(merge, predictions, postprocess=None):
    """Compares all that post-processing says of each image with the oracle; returns that.

    Args:
      merge: the post-processing.
      predictions: of a batch.
      postprocess: another form of it, such as a graph.
    """
    maps = (postprocess or merge)(tf.nest.map_structure(tf.constant, predictions))
    every = []
    for image, masks in enumerate(predictions["mask_logits"]):
        expected = merging_oracle.merge(masks, predictions["class_logits"][image], merge)
        assert maps.keys() == expected.keys()
        for key, values in expected.items():
            found = maps[key][image].numpy()
            if key == "segment_fates":
                found = [RejectionReason(reason).name for reason in found]
            if key.endswith(("scores", "confidences")):
                np.testing.assert_allclose(found, values, rtol=1e-4, err_msg=key)
            else:
                np.testing.assert_array_equal(found, values, err_msg=key)
        every.append(expected)
    return every


MERGINGS = [
    mask_wise(0.5, 0.4, 0.5, 1.0, 1.0),
    mask_wise(0.3, 0.6, 0.8, 0.5, 2.0),
    mask_wise(0.5, 0.5, 0.2, 1.0, 0.0),
    MaskWise((0.2, 0.9, 0.5, 0.7), 0.5, 1.0, 1.0, True),
    pixel_wise(0.5),
    pixel_wise(0.0),
    PixelWise((0.2, 0.9, 0.5, 0.7)),
]


@pytest.mark.parametrize("merging", MERGINGS, ids=str)
@pytest.mark.parametrize(
    ("pixel_threshold", "thing_area_limit", "stuff_area_limit"),
    # A threshold of 1/3 or less lets three masks overlap, 0 makes every mask cover everything.
    [(0.4, 0, 0), (0.4, 3, 6), (0.6, 20, 0), (1 / 3, 0, 20), (0.2, 4, 4), (0.0, 0, 0)],
)
@both_forms
def test_equals_the_oracle(merging, pixel_threshold, thing_area_limit, stuff_area_limit, form):
    predictions = random_predictions(0, batch=7)
    predictions["class_logits"][6, :, -1] = 30  # nothing but void
    options = {"thing_area_limit": thing_area_limit, "stuff_area_limit": stuff_area_limit}
    merge = postprocessor(form(merging), pixel_threshold=pixel_threshold, **options)
    images = check(merge, predictions)
    assert len(np.unique([image["panoptic"] for image in images])) > 2


@both_forms
@pytest.mark.parametrize("merging", [mask_wise(0.3, 0.3), pixel_wise(0.3)], ids=["mask", "pixel"])
@pytest.mark.parametrize("centers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_few_centers_at_any_threshold_equal_the_oracle(merging, centers, batch, form):
    predictions = random_predictions(centers, batch, 3, 4, centers, sharpness=2.0)
    for threshold in (0.0, 0.2, 1 / 3, 0.34, 0.5, 1.0):
        check(postprocessor(form(merging), pixel_threshold=threshold), predictions)


def assert_same(results, expected):
    """Compares outputs to the last bit."""
    assert results.keys() == expected.keys()
    for key, values in expected.items():
        assert results[key].dtype == values.dtype, key
        np.testing.assert_array_equal(results[key], values, err_msg=key)


def awkward_predictions(seed, batch, size, centers, awkward):
    """Returns random predictions, some with what breaks comparisons."""
    rng = np.random.default_rng(seed)
    sharpness = rng.choice([0.5, 3.0, 12.0])
    predictions = random_predictions(seed, batch, *size, centers, sharpness)
    masks, classes = predictions["mask_logits"], predictions["class_logits"]
    if awkward == "ties":
        masks[:], classes[:] = masks.round(), classes.round()
    elif awkward == "one mask":
        masks[..., rng.integers(centers)] += 9  # cells are settled
    elif awkward == "no class":
        classes[:, :, -1] = 99.0
    elif awkward is not None:
        masks[rng.random(masks.shape) < 0.02] = awkward
        classes[rng.random(classes.shape) < 0.02] = awkward
    if rng.random() < 0.3:
        probabilities = rng.dirichlet(np.ones(5) * 0.2, [batch, *size])[..., :4].astype("f4")
        predictions["class_maps"] = np.where(masks[..., :1] == awkward, np.nan, probabilities)
    return predictions


@pytest.mark.parametrize(
    "merging",
    [
        mask_wise(0.3, 0.2, 0.5, 1.0, 1.0),
        mask_wise(0.2, 0.3, 0.2, 0.5, 2.0, full_size_scores=True),
        PixelWise((0.2, 0.6, 0.4, 0.0)),
    ],
    ids=["mask", "full size scores", "pixel"],
)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    centers=st.sampled_from([1, 2, 3, 7, 16, 21]),
    stride=st.sampled_from([1, 2, 4]),
    threshold=st.sampled_from([0.0, 0.05, 0.2, 1 / 3, 0.34, 0.4, 0.5, 0.8, 1.0]),
    awkward=st.sampled_from(
        [None, "ties", "one mask", "no class", float("nan"), float("inf"), float("-inf")]
    ),
)
def test_both_forms_give_the_same_bits(
    merging, seed, batch, size, centers, stride, threshold, awkward
):
    predictions = tf.nest.map_structure(
        tf.constant, awkward_predictions(seed, batch, size, centers, awkward)
    )
    definition, cells = (
        postprocessor(
            form, stride, pixel_threshold=threshold, thing_area_limit=2, stuff_area_limit=3
        )(predictions)
        for form in (merging, by_cells(merging))
    )
    assert_same(cells, definition)


@pytest.mark.parametrize("threshold", [0.4, 0.2])
@pytest.mark.parametrize("merging", [MERGINGS[0], MERGINGS[3], MERGINGS[5]], ids=str)
def test_forms_for_other_runtimes_give_the_same_maps(merging, threshold):
    merge = postprocessor(merging, pixel_threshold=threshold)
    tensors = {name: tf.constant(x) for name, x in random_predictions(3, 2, 9, 7, 20).items()}
    definition = merge(tensors)
    with ops.portable():
        graph = tf.function(merge, autograph=False).get_concrete_function(tensors)
    assert not {"TensorListReserve", "UnsortedSegmentSum"} & {
        operation.type for operation in graph.graph.get_operations()
    }
    for name, values in graph(tensors).items():
        if values.dtype == tf.float32:  # sums are in another order
            np.testing.assert_allclose(values, definition[name], rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(values, definition[name], err_msg=name)
    assert len(np.unique(definition["panoptic"])) > 2


@pytest.mark.parametrize("merging", [MERGINGS[0], MERGINGS[3], MERGINGS[5]], ids=str)
def test_settled_cells_change_nothing(merging):
    # Large, sure masks, many centers, and sides that differ: most cells are settled.
    rng = np.random.default_rng(7)
    middles = rng.uniform(0, 30, [8, 2])
    y, x = np.mgrid[0:17, 0:30]
    distance = np.stack([np.hypot(y - m[0], x - m[1]) for m in middles], axis=-1)
    masks = rng.normal(size=[2, 17, 30, 256], scale=0.3)
    masks[0, :, :, 100:108] += 12 - 2 * (distance - distance.min(-1, keepdims=True))
    masks[1, :, :, :8] += 12 - 2 * (distance - distance.min(-1, keepdims=True))[::-1]
    classes = rng.normal(size=[2, 256, 5], scale=4.0)
    predictions = {"mask_logits": masks.astype("f4"), "class_logits": classes.astype("f4")}
    tensors = tf.nest.map_structure(tf.constant, predictions)
    definition, cells = (postprocessor(form, 4)(tensors) for form in (merging, by_cells(merging)))
    assert_same(cells, definition)
    assert len(np.unique(cells["panoptic"])) > 4


@pytest.mark.parametrize(("centers", "batch"), [(1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_graphs_of_known_shapes_take_few_centers(centers, batch, threshold):
    predictions = random_predictions(centers, batch, 3, 4, centers, sharpness=2.0)
    merging = mask_wise(0.3, 0.3)
    for form, jit_compile in ((by_cells, None), (as_defined, None), (as_defined, True)):
        merge = postprocessor(form(merging), pixel_threshold=threshold)
        check(merge, predictions, tf.function(merge, jit_compile=jit_compile, autograph=False))


@pytest.mark.parametrize("merging", MERGINGS[:5], ids=str)
def test_sizes_may_be_unknown_until_the_call(merging):
    signature = {
        "mask_logits": tf.TensorSpec([None, None, None, 6]),
        "class_logits": tf.TensorSpec([None, 6, 5]),
    }
    merge = postprocessor(merging)
    definition, cells = (
        tf.function(form, input_signature=[signature], autograph=False)
        for form in (merge, postprocessor(by_cells(merging)))
    )
    for batch in (1, 3):
        predictions = random_predictions(3, batch)
        check(merge, predictions, definition)
        tensors = tf.nest.map_structure(tf.constant, predictions)
        assert_same(cells(tensors), definition(tensors))


@pytest.mark.slow  # serving_model_test compares thresholds of requests with known ones
@both_forms
@pytest.mark.parametrize("merging", [MERGINGS[0], MERGINGS[3], MERGINGS[6]], ids=str)
def test_thresholds_that_a_graph_is_given_do_what_known_ones_do(merging, form):
    predictions = tf.nest.map_structure(tf.constant, random_predictions(6, batch=2))
    names = {"class_thresholds", "overlap_threshold"} & vars(merging).keys()

    @tf.function(autograph=False)
    def given(pixel_threshold, values):
        changed = form(dataclasses.replace(merging, **values))
        return postprocessor(changed, pixel_threshold=pixel_threshold)(predictions)

    for threshold in (0.0, 0.05, 0.2, 1 / 3, 0.34, 0.4, 0.5, 1.0):
        known = postprocessor(form(merging), pixel_threshold=threshold)
        values = {name: tf.constant(getattr(merging, name)) for name in names}
        expected = tf.function(known, autograph=False)(predictions)
        assert_same(given(tf.constant(threshold), values), expected)


def confident(class_of_center, certainty=20.0):
    """Returns class logits [1, N, 5] that are sure of the classes."""
    return certainty * np.eye(5, dtype=np.float32)[np.asarray(class_of_center)][np.newaxis]


def test_equal_scores_paint_in_the_order_of_centers():
    masks = np.zeros([1, 3, 3, 3], np.float32)
    masks[..., 1] = masks[..., 2] = 9.0  # two masks over all, half each
    predictions = {"mask_logits": masks, "class_logits": confident([0, 1, 0])}
    result = run(mask_wise(0.5, 0.5, 0.5, 1.0, 1.0), predictions)
    # Ranks: center 1, center 2, center 0; the first of equals takes the canvas.
    assert (result["panoptic"] == CAT_1).all()
    np.testing.assert_array_equal(result["segment_ids"], [[VOID, CAT_1, VOID]])
    result = run(pixel_wise(0.5), predictions)
    assert (result["panoptic"] == CAT_2).all()


@pytest.mark.parametrize(("overlap_threshold", "last"), [(0.0, ROADS), (0.5, VOID)])
def test_overlap_must_be_exceeded(overlap_threshold, last):
    masks = np.full([1, 3, 3, 3], -9.0, np.float32)
    masks[:, :, :2, 0] = masks[:, :, 1:, 1] = 9.0
    masks[:, :, 1, 1] = 9.5  # a share of the middle for both, above the threshold of 0.3
    masks[..., 2] = -20.0
    predictions = {"mask_logits": masks, "class_logits": confident([0, 2, 2])}
    merging = mask_wise(overlap_threshold=overlap_threshold)
    maps = run(merging, predictions, stride=1, pixel_threshold=0.3)
    # Three of the six pixels of the second mask are free.
    np.testing.assert_array_equal(maps["panoptic"][0], [[DOG_1, DOG_1, last]] * 3)


def test_lower_precision_is_merged_in_float32():
    predictions = random_predictions(6)
    half = {key: tf.cast(value, tf.bfloat16) for key, value in predictions.items()}
    rounded = {key: tf.cast(value, tf.float32) for key, value in half.items()}
    postprocess = postprocessor(mask_wise())
    np.testing.assert_array_equal(postprocess(half)["panoptic"], postprocess(rounded)["panoptic"])


def test_compiled_by_xla_the_maps_are_the_same():
    for merging in (MERGINGS[0], MERGINGS[5]):
        merge = postprocessor(merging)
        compiled = tf.function(merge, jit_compile=True, autograph=False)
        check(merge, random_predictions(8, batch=2), compiled)


@both_forms
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_without_finite_logits_are_unlabeled(value, form):
    predictions = random_predictions(9)
    clean = run(form(MERGINGS[0]), predictions)
    assert (clean["panoptic"] != VOID).any()
    predictions["mask_logits"][0, 1, 2, 3] = value
    result = run(form(MERGINGS[0]), predictions)
    bad = np.zeros([7, 9], bool)
    bad[1:4, 3:6] = True  # what is interpolated from the mask logit
    nothing = {"panoptic": VOID, "semantic": UNLABELED, "semantic_scores": 0, "instance_scores": 0}
    for key, none in nothing.items():
        assert (result[key][0][bad] == none).all(), key
    assert (result["semantic"][0][~bad] == clean["semantic"][0][~bad]).all()
    assert np.isfinite(result["segment_scores"]).all()


@both_forms
def test_minus_infinity_is_a_probability_of_zero(form):
    predictions = random_predictions(9)
    predictions["mask_logits"][0, :, :, 3] = predictions["mask_logits"][0, 1, 2, 1] = -np.inf
    result = run(form(MERGINGS[0]), predictions)
    predictions["mask_logits"] = np.maximum(predictions["mask_logits"], -1e5)
    expected = run(form(MERGINGS[0]), predictions)
    for key in ("panoptic", "semantic", "instance_scores"):
        np.testing.assert_array_equal(result[key], expected[key], err_msg=key)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_center_without_finite_class_logits_has_no_confidence(value):
    predictions = random_predictions(10)
    predictions["class_logits"][0, 2, 1] = value
    for merging in (MERGINGS[0], MERGINGS[5]):
        result = run(merging, predictions)
        assert result["segment_confidences"][0, 2] == 0
        assert result["segment_ids"][0, 2] == VOID
        predictions["class_logits"][0, 2] = [-9, -9, -9, -9, 9]  # as good as no confidence
        expected = run(merging, predictions)
        np.testing.assert_array_equal(result["panoptic"], expected["panoptic"])
        predictions["class_logits"][0, 2, 1] = value


@both_forms
def test_a_probability_at_a_threshold(form):
    # Of classes it is enough, of pixels it isn't.
    predictions = {
        "mask_logits": np.zeros([1, 3, 3, 2], np.float32),
        "class_logits": np.array([[[0, 0, -99, -99, -99]] * 2], np.float32),
    }
    merging = mask_wise(0.5, 0.5, 0.5, 1.0, 1.0)
    result = run(form(merging), predictions, pixel_threshold=0.5)
    assert (result["panoptic"] == VOID).all()
    assert (result["segment_fates"] == RejectionReason.EMPTY).all()
    result = run(form(merging), predictions, pixel_threshold=0.49)
    assert (result["panoptic"] == DOG_1).all()
    np.testing.assert_array_equal(
        result["segment_fates"], [[RejectionReason.KEPT, RejectionReason.OVERLAP]]
    )
