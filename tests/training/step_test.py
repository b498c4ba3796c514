"""A training step: clipping, parts of batches, failures; as it is and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.keras_api import keras
from kmax_tf.training.builder import with_skipping
from tests.training.small import adamw, batch, small_model, small_step, state

NAN = float("nan")


def run(step, *batches):
    """Runs steps in a graph; returns what each reports."""
    function = tf.function(step)
    results = []
    for x, targets in batches:
        values = function(tf.constant(x), {"y": tf.constant(targets["y"])})
        results.append({name: float(value) for name, value in values.items()})
    return results


def spoiled(seed: int = 0):
    x, targets = batch(seed)
    x[0, 0] = NAN
    return x, targets


@pytest.mark.parametrize("jit_compile", [False, True])
def test_clipping_scales_all_gradients_alike(jit_compile: bool) -> None:
    """With plain descent a step is the gradient."""

    def change(clip_norm):
        model = small_model()
        step = small_step(
            model, keras.optimizers.legacy.SGD(1.0), clip_norm=clip_norm, jit_compile=jit_compile
        )
        before = [v.numpy() for v in model.trainable_variables]
        (values,) = run(step, batch())
        return values, [a - b.numpy() for a, b in zip(before, model.trainable_variables)]

    plain, gradients = change(0.0)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert plain["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert plain["loss"] == pytest.approx(plain["near"] + plain["far"])
    clipped, scaled = change(norm / 4)
    assert clipped["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    for gradient, quarter in zip(gradients, scaled):
        np.testing.assert_allclose(quarter, gradient / 4, rtol=1e-3, atol=1e-6)
    _, same = change(norm * 2)
    for gradient, other in zip(gradients, same):
        np.testing.assert_allclose(gradient, other, rtol=1e-5)


def test_gathered_variables_are_clipped_like_others() -> None:
    """The gradient of a gather holds a row as often as it was gathered."""
    changes = []
    for rows in ([0, 0, 0, 1], None):
        table = tf.Variable([[3.0], [1.0]], name="table")
        model = _Table(table, rows)
        run(small_step(model, keras.optimizers.legacy.SGD(1.0), clip_norm=1.0), batch())
        changes.append(table.numpy())
    np.testing.assert_allclose(*changes, rtol=1e-6)


class _Table(tf.Module):
    """A model that reads rows of its one variable, or all of it as often."""

    def __init__(self, table, rows):
        super().__init__()
        self.table = table
        self.rows = rows

    def __call__(self, x, training):
        table = self.table
        read = table * [[3.0], [1.0]] if self.rows is None else tf.gather(table, self.rows)
        return tf.reduce_sum(read) * tf.ones([8, 2])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_parts_of_a_batch_train_as_the_whole_does(jit_compile: bool) -> None:
    """Without normalizations, which see the parts."""
    results = []
    for parts in (1, 4):
        model = small_model(normalized=False)
        step = small_step(
            model, adamw(), micro_batches=parts, jit_compile=jit_compile, clip_norm=1.0
        )
        reported = run(step, batch(0), batch(1), batch(2))
        results.append((reported, state(step)))
    (whole, whole_state), (parts, parts_state) = results
    for a, b in zip(whole, parts):
        assert a == pytest.approx(b, rel=1e-5)
    for name, value in whole_state.items():
        np.testing.assert_allclose(parts_state[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_parts_update_the_statistics_of_normalizations_one_after_another() -> None:
    model = small_model()
    step = small_step(model, adamw(), micro_batches=2)
    x, targets = batch()
    hidden = model.get_layer("first")(x).numpy()
    run(step, (x, targets))
    expected = np.zeros(4)
    for half in (hidden[:4], hidden[4:]):
        expected = 0.99 * expected + 0.01 * half.mean(axis=0)
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, expected, rtol=1e-4)


OPTIMIZERS = {
    "ours": lambda: adamw(average_decay=0.9, lookahead_period=2),
    "ours scaled": lambda: keras.mixed_precision.LossScaleOptimizer(adamw(), initial_scale=1),
    "keras": lambda: with_skipping(keras.optimizers.Adam(0.01)),
    "legacy": lambda: with_skipping(keras.optimizers.legacy.Adam(0.01)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    optimizer: str, jit_compile: bool
) -> None:
    model = small_model()
    step = small_step(model, OPTIMIZERS[optimizer](), jit_compile=jit_compile, clip_norm=1.0)
    function = tf.function(step)  # the same graph for all
    (good,) = run(function, batch())
    before = state(step)
    assert not step.failures.last_step_failed()
    bad = run(function, spoiled(1), spoiled(2))
    assert bad == [good, good]  # it reports the last good values
    after = state(step)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)
    assert step.failures.last_step_failed()
    failures = step.failures.read_and_reset()
    assert (failures.steps, failures.longest_streak, failures.skipped) == (2, 2, 2)
    assert failures.terms == {"near": 2, "far": 2}
    assert "first/kernel:0" in failures.variables

    run(function, batch(3))
    assert not step.failures.last_step_failed()
    assert step.failures.read_and_reset().steps == 0
    assert not np.array_equal(state(step)["0 first/kernel:0"], before["0 first/kernel:0"])
    assert int(step.optimizer.iterations) == 4


def test_a_loss_that_is_infinite_is_a_failure_though_gradients_are_finite() -> None:
    model = small_model()
    step = small_step(model, adamw())
    step.loss = lambda targets, predictions: {
        "near": tf.reduce_mean(predictions),
        "far": tf.stop_gradient(tf.reduce_mean(targets["y"])) / 0.0,
    }
    before = [v.numpy() for v in model.variables]
    (values,) = run(step, batch())
    assert np.isnan(values["loss"])  # nothing good so far
    for old, new in zip(before, model.variables):
        np.testing.assert_array_equal(old, new)
    failures = step.failures.read_and_reset()
    assert failures.terms == {"far": 1}
    assert failures.variables == {}
    assert failures.sentence() == "loss terms that are not finite: far (1)"


def test_an_overflow_of_scaled_losses_is_skipped_but_no_failure() -> None:
    model = small_model()
    optimizer = keras.mixed_precision.LossScaleOptimizer(adamw(), initial_scale=2.0**127)
    step = small_step(model, optimizer)
    before = [v.numpy() for v in model.variables]
    run(step, batch(), batch())
    for old, new in zip(before, model.variables):
        np.testing.assert_array_equal(old, new)
    assert float(optimizer.loss_scale) == 2.0**125
    failures = step.failures.read_and_reset()
    assert (failures.steps, failures.skipped) == (0, 2)


def test_scaling_the_loss_does_not_change_the_training() -> None:
    results = []
    for scale in (1, 1024):
        model = small_model()
        optimizer = keras.mixed_precision.LossScaleOptimizer(adamw(), initial_scale=scale)
        step = small_step(model, optimizer, clip_norm=1.0)
        run(step, batch(0), batch(1))
        results.append(state(step))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_variable_that_the_loss_does_not_depend_on_stays_as_it_is() -> None:
    model = small_model()
    step = small_step(model, adamw())
    step.loss = lambda targets, predictions: {
        "near": tf.reduce_sum(model.get_layer("first").kernel ** 2),
        "far": tf.constant(0.0),
    }
    before = model.get_layer("last").kernel.numpy()
    run(step, batch())
    np.testing.assert_array_equal(before, model.get_layer("last").kernel)
