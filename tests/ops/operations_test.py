"""Every operation's fast form equals its definition, values and gradients, however it is run."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf import ops
from kmax_tf.ops import choice
from kmax_tf.ops.trials import EXAMPLES, convolution, depthwise, similarities

# Where the fast forms do something else: taps that see nothing, other kernels, sets of other sizes.
CASES = {
    **EXAMPLES,
    "3x3 whose every tap but one sees padding": convolution([5, 4], [3, 3], dilation=(6, 6)),
    "3x3 whose taps see padding up and down": convolution([5, 9], [3, 3], dilation=(6, 6)),
    "5x5 dilated": convolution([4, 9], [5, 5], dilation=(3, 3)),
    "2x3 dilated": convolution([8, 9], [2, 3], dilation=(3, 2)),
    "2x3 dilated, without padding": convolution([8, 9], [2, 3], dilation=(3, 2), padding="VALID"),
    "4x1 dilated": convolution([8, 9], [4, 1], dilation=(2, 2)),
    "depthwise 3x4": depthwise([3, 4]),
    "few vectors": similarities(5, temperature=0.07),
    "vectors that need no padding": similarities(64, temperature=2.0),
    "vectors of exponents that need an offset": similarities(8, temperature=0.01),
}
# As a share of the largest value of what is compared, with the rounding of sums of a hundred.
TOLERANCE = {"bfloat16": 3e-2, "float16": 2e-2}
MODES = ["eager", "graph", "xla", "unknown sizes", "inference", *TOLERANCE, "bfloat16, xla"]


def inputs_of(case):
    """Returns float32 numbers that bfloat16 has, too."""
    rng = np.random.default_rng(0)
    arrays = (tf.constant(rng.normal(size=shape), tf.bfloat16) for shape in case.shapes)
    return [tf.cast(array, tf.float32) for array in arrays]


def values_and_gradients(case, inputs):
    """Returns, in float32, outputs and the gradients of all inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = [tf.cast(x, tf.float32) for x in tf.nest.flatten(case.run(*inputs))]
    upstream = [
        tf.reshape(tf.sin(tf.range(1.0, tf.cast(tf.size(x), tf.float32) + 1.0)), tf.shape(x))
        for x in outputs
    ]
    gradients = tape.gradient(outputs, inputs, upstream)
    return [*outputs, *(tf.cast(tf.convert_to_tensor(x), tf.float32) for x in gradients)]


def defined(case):
    """Computes a case by its definition."""
    with ops.definitions():
        return values_and_gradients(case, inputs_of(case))


def computed(case, mode):
    """Computes a case in its fast form."""
    inputs = inputs_of(case)
    dtype = next((name for name in TOLERANCE if name in mode), "float32")
    inputs = [tf.cast(x, dtype) for x in inputs]
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
    if mode == "unknown sizes":
        known = case.shapes[0][case.open_axes :]
        signature[0] = tf.TensorSpec([None] * case.open_axes + list(known), inputs[0].dtype)

    def run(*inputs):
        return values_and_gradients(case, list(inputs))

    if mode != "eager":
        run = tf.function(
            run, input_signature=signature, jit_compile="xla" in mode or None, autograph=False
        )
    with ops.for_gradients(mode != "inference"):
        return run(*inputs)


def largest_difference(found, expected):
    """Returns by which share of the largest value of one of them two lists of arrays differ."""
    assert [x.shape for x in found] == [x.shape for x in expected]
    return max(
        float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
        for ours, theirs in zip(found, expected)
    )


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def expected(case):
    return defined(case)


@pytest.mark.parametrize("mode", MODES)
def test_the_fast_form_equals_the_definition(case, expected, mode):
    tolerance = next((of for name, of in TOLERANCE.items() if name in mode), 4e-6)
    assert largest_difference(computed(case, mode), expected) < tolerance


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_gradients_of_a_dilated_convolution_have_gradients(padding):
    case = convolution([8, 6], [3, 3], padding=padding, dilation=(2, 2))
    x, kernel = inputs_of(case)

    def penalty():
        with tf.GradientTape() as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(tf.sin(case.run(x, kernel)))
            squares = tf.reduce_sum(tf.square(tape.gradient(total, x)))
        return outer.gradient(squares, [x, kernel])

    with ops.definitions():
        expected = penalty()
    assert largest_difference(penalty(), expected) < 2e-5


def test_layer_norm_of_values_that_are_far_from_zero():
    x, scale, offset = inputs_of(EXAMPLES["layer normalization"])
    exact = tf.cast(x, tf.float64).numpy()
    exact = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    for wanted in (False, True):
        with ops.for_gradients(wanted):
            found = ops.layer_norm(x + 300.0, scale, offset, 1e-6)
        np.testing.assert_allclose(found, exact * scale + offset, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_sums_of_many_pixels_stay_exact_in_low_precision(dtype):
    """Adding up in bfloat16 stops at 256 times the value; in float16, 80000 is infinite."""
    values = tf.fill([1, 80_000, 2], tf.constant(1.0, dtype))
    for context in (contextlib.nullcontext(), ops.definitions()):
        with context:
            sums = ops.sum_by_center(values, tf.zeros([1, 80_000], tf.int32), 2)
        np.testing.assert_array_equal(sums, [[[80_000.0] * 2, [0.0] * 2]])


@pytest.mark.parametrize("place", [0, 5, 127])
def test_what_is_not_a_number_stays_in_the_softmax_of_pixels(place):
    """So that a broken step is seen."""
    logits = np.zeros([1, 1, 128], np.float32)
    logits[..., place] = float("nan")
    found = ops.softmax_entropy_and_sums(
        tf.constant(logits), tf.constant([[1]]), tf.constant([[1.0]])
    )
    for values in found:
        assert np.isnan(values).any()


def test_certain_pixels_lose_nothing():
    """A loss of exactly 0 is what leaves them out of the mean."""
    logits = tf.constant([[[40.0, 0.0, 0.0]]])
    entropy, _ = ops.softmax_entropy_and_sums(logits, tf.constant([[0]]), tf.constant([[1.0]]))
    assert float(entropy[0, 0]) == 0.0


@pytest.mark.parametrize(
    ("accelerated", "wanted", "defined_only", "chosen"),
    [
        (False, True, False, {"here": "fast", "anywhere": "fast", "with gradients": "fast"}),
        (False, False, False, {"here": "fast", "anywhere": "fast", "with gradients": "plain"}),
        (True, True, False, {"here": "plain", "anywhere": "fast", "with gradients": "plain"}),
        (False, True, True, {"here": "plain", "anywhere": "plain", "with gradients": "plain"}),
    ],
)
def test_the_machine_and_what_is_wanted_choose(
    monkeypatch, accelerated, wanted, defined_only, chosen
):
    monkeypatch.setattr(choice, "accelerated", lambda: accelerated)
    with ops.for_gradients(wanted), contextlib.ExitStack() as stack:
        if defined_only:
            stack.enter_context(ops.definitions())
        assert chosen == {
            "here": choice.choose("plain", on_cpus="fast"),
            "anywhere": choice.choose("plain", anywhere="fast"),
            "with gradients": choice.choose("plain", for_gradients_on_cpus="fast"),
        }


def test_other_runtimes_get_forms_that_they_know(monkeypatch):
    monkeypatch.setattr(choice, "accelerated", lambda: False)
    forms = {"on_cpus": "fast", "for_gradients_on_cpus": "fast"}
    with ops.portable(), ops.for_gradients():
        assert choice.choose("plain", **forms) == "plain"
        assert choice.choose("plain", anywhere="fast") == "fast"
        assert choice.choose("plain", in_other_runtimes="known", anywhere="fast") == "known"
        graph = tf.function(ops.gelu, autograph=False).get_concrete_function(tf.zeros([3]))
        kinds = {operation.type for operation in graph.graph.get_operations()}
    assert "Erf" in kinds
    assert "Erfc" not in kinds
    x = tf.linspace(-6.0, 6.0, 97)
    with ops.portable():
        known = ops.gelu(x)
    np.testing.assert_allclose(known, ops.gelu(x), atol=1e-6)
