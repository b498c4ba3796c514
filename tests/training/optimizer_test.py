"""Every algorithm, and what we add to it, against oracles, step by step."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.builder import build_optimizer
from kmax_tf.training.groups import VariableGroups
from kmax_tf.training.optimizer import (
    LAMB,
    SGDW,
    AdamW,
    GroupedOptimizer,
    rectified_adam,
    without_loss_scaling,
)
from kmax_tf.training.schedule import WarmupPoly
from tests.reference import optimizer_oracle
from tests.training.small import make_rules
from tests.training.tiny import tiny_experiment

SHAPES = {"part/kernel": [3, 2], "part/bias": [2], "slow/kernel": [2, 2], "slow/gamma": [2]}
GROUPS = VariableGroups(
    rates={"slow/kernel:0": 0.1, "slow/gamma:0": 0.1},
    decayed=frozenset({"part/kernel:0", "slow/kernel:0"}),
)
HAS_ADDONS = sys.version_info < (3, 12)


def random_values(rng):
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def variables(values):
    return {name: tf.Variable(value, name=name) for name, value in values.items()}


# Ours and the oracle, with what they are given; rectified_adam() imports tensorflow-addons.
ALGORITHMS = {
    "adamw": (lambda: AdamW, {}, optimizer_oracle.AdamW, {}),
    "lamb": (lambda: LAMB, {"weight_decay_rate": 0.05}, optimizer_oracle.Lamb, {"epsilon": 1e-6}),
    "sgd": (lambda: SGDW, {"momentum": 0.9}, optimizer_oracle.Sgd, {}),
    "nesterov": (
        lambda: SGDW,
        {"momentum": 0.9, "nesterov": True},
        optimizer_oracle.Sgd,
        {"nesterov": True},
    ),
}
if HAS_ADDONS:
    beta = {"beta_2": 0.9}
    ALGORITHMS["rectified_adam"] = rectified_adam, beta, optimizer_oracle.RectifiedAdam, beta


def make(name: str, rate, **rules) -> GroupedOptimizer:
    kind, options, *_ = ALGORITHMS[name]
    decay = 0.0 if name == "lamb" else 0.05  # LAMB's is inside
    return kind()(make_rules(GROUPS, decay, **rules), learning_rate=rate, **options)


def make_oracle(name: str, value, decays: bool):
    *_, kind, options = ALGORITHMS[name]
    return kind(value, 0.05 if decays else 0.0, **options)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("in_graph", [False, True])
def test_steps_equal_the_oracle(name: str, copies: bool, in_graph: bool) -> None:
    """Rates, decay and schedule; with copies, lookahead every second step, and averages."""
    rng = np.random.default_rng(0)
    start = random_values(rng)
    ours = variables(start)
    added = {"average_decay": 0.3, "lookahead_period": 2, "lookahead_share": 0.25} if copies else {}
    optimizer = make(name, WarmupPoly(0.1, 20, 2, 0.0, 0.9), **added)
    oracles = {key: make_oracle(name, value, "kernel" in key) for key, value in start.items()}
    slow = {key: value.astype(np.float64) for key, value in start.items()}
    average = dict(slow)

    def apply(gradients):
        optimizer.apply_gradients([(gradients[key], value) for key, value in ours.items()])

    apply = tf.function(apply) if in_graph else apply
    for step in range(8):
        gradients = random_values(rng)
        apply({key: tf.constant(value) for key, value in gradients.items()})
        rate = optimizer_oracle.warmup_poly(step, 0.1, 20, 2)
        for key, oracle in oracles.items():
            oracle.step(gradients[key], rate * (0.1 if key.startswith("slow") else 1.0))
            if copies and step % 2 == 1:
                oracle.value = slow[key] + 0.25 * (oracle.value - slow[key])
                slow[key] = oracle.value.copy()
            decay = min(0.3, (1 + step) / (10 + step))
            average[key] = decay * average[key] + (1 - decay) * oracle.value
            np.testing.assert_allclose(ours[key], oracle.value, rtol=2e-5, atol=1e-6, err_msg=key)
    assert int(optimizer.iterations) == 8
    if copies:
        for _ in range(2):  # doing it twice changes nothing
            optimizer.hold_averages(ours.values(), True)
        for key, value in ours.items():
            np.testing.assert_allclose(value, average[key], rtol=2e-5, atol=1e-6, err_msg=key)
        optimizer.hold_averages(ours.values(), False)
        for key, oracle in oracles.items():
            np.testing.assert_allclose(ours[key], oracle.value, rtol=2e-5, atol=1e-6)


def test_adamw_is_bit_for_bit_tf_models_adam_weight_decay() -> None:
    """That is the published update; two of them make the two rates."""
    from official.modeling.optimization import legacy_adamw

    rng = np.random.default_rng(1)
    start = random_values(rng)
    ours, theirs = variables(start), variables(start)
    schedule = WarmupPoly(0.1, 20, 2, 0.0, 0.9)
    optimizer = make("adamw", schedule)
    plain = legacy_adamw.AdamWeightDecay(
        schedule,
        weight_decay_rate=0.05,
        include_in_weight_decay=["kernel:0$"],
        exclude_from_weight_decay=[".*"],
        gradient_clip_norm=0.0,
    )
    for _ in range(5):
        gradients = random_values(rng)
        optimizer.apply_gradients([(tf.constant(gradients[k]), v) for k, v in ours.items()])
        plain.apply_gradients([(tf.constant(gradients[k]), v) for k, v in theirs.items()])
        for key in ("part/kernel", "part/bias"):
            np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_skipped_step_changes_nothing_but_the_count(name: str) -> None:
    rng = np.random.default_rng(2)
    ours = variables(random_values(rng))
    optimizer = make(name, 0.1, average_decay=0.9, lookahead_period=2)

    @tf.function
    def apply(condition, gradients):
        optimizer.apply_gradients_if(condition, [(gradients[k], v) for k, v in ours.items()])

    apply(tf.constant(True), {k: tf.constant(v) for k, v in random_values(rng).items()})
    before = [v.numpy() for v in [*ours.values(), *optimizer.variables()[1:]]]
    apply(tf.constant(False), {k: v * float("nan") for k, v in ours.items()})
    for old, new in zip(before, [*ours.values(), *optimizer.variables()[1:]]):
        np.testing.assert_array_equal(old, new)
    assert int(optimizer.iterations) == 2


def test_gathered_variables_follow_the_rules() -> None:
    """The gradient of a gather comes as slices, in which a row occurs as often as it was read."""
    results = []
    for rows in ([0, 0, 0, 1], None):
        table = tf.Variable([[3.0], [1.0], [2.0]], name="table")
        groups = VariableGroups({"table:0": 0.25}, frozenset({"table:0"}))
        optimizer = AdamW(make_rules(groups, 0.1), learning_rate=0.1, epsilon=1.0)
        with tf.GradientTape() as tape:
            read = table * [[3.0], [1.0], [0.0]] if rows is None else tf.gather(table, rows)
            loss = tf.reduce_sum(read)
        optimizer.apply_gradients([(tape.gradient(loss, table), table)])
        results.append(table.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert results[0][2] == pytest.approx(2.0 * (1 - 0.1 * 0.25 * 0.1))


def test_copies_begin_as_the_weights_are_when_training_begins() -> None:
    """Weights may be imported after the optimizer was made."""
    ours = variables(random_values(np.random.default_rng(4)))
    optimizer = make("sgd", 0.1, average_decay=0.9, lookahead_period=2)
    optimizer.begin(ours.values())
    for value in ours.values():
        value.assign(value + 1.0)
    optimizer.begin(ours.values())
    for value in ours.values():
        for slot in ("average", "slow"):
            np.testing.assert_array_equal(optimizer.get_slot(value, slot), value)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("adamw {}", "AdamW"),
        ("lamb {weight_decay: 0.02}", "LAMB"),
        ("sgd {momentum: 0.5 nesterov: true}", "SGDW"),
        ("rectified_adam {epsilon: 1e-6}", "RectifiedAdam"),
    ],
)
def test_experiment_reaches_the_optimizer(model, algorithm: str, kind: str) -> None:
    name, values = algorithm.split(" ", 1)
    experiment = tiny_experiment(
        f"training.optimizer.{name}={values}",
        "training.optimizer.averaging.decay=0.9",
        "training.optimizer.lookahead={period: 3 kept_share: 0.75}",
    )
    if kind == "RectifiedAdam" and not HAS_ADDONS:
        with pytest.raises(kmax_tf.UserError, match="needs tensorflow-addons"):
            build_optimizer(experiment, model)
        return
    optimizer = build_optimizer(experiment, model)
    assert type(optimizer).__name__ == kind
    rules = optimizer.rules
    assert rules.averaging == pytest.approx(0.9)
    assert (rules.lookahead.period, rules.lookahead.kept_share) == (3, 0.75)
    given = getattr(experiment.training.optimizer, name)
    found = {**optimizer.get_config(), "weight_decay": rules.weight_decay}
    if name == "lamb":  # its decay is inside of the algorithm
        assert rules.weight_decay == 0.0
        found["weight_decay"] = found["weight_decay_rate"]
    for field in given.DESCRIPTOR.fields:
        assert found[field.name] == pytest.approx(getattr(given, field.name)), field.name
    assert isinstance(optimizer.learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    assert without_loss_scaling(keras.mixed_precision.LossScaleOptimizer(optimizer)) is optimizer


@pytest.fixture(scope="module")
def model():
    return kmax_tf.build_model(tiny_experiment())
