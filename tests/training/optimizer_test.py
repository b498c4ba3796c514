"""The schedule and AdamW against the published numbers and an oracle, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.keras_api import keras
from kmax_tf.training.optimizer import AdamW, WarmupPoly, build_optimizer
from tests.reference import optimizer_oracle

COCO = WarmupPoly(5e-4, 150_000, 5000, 0.9, 0.0)


@pytest.mark.parametrize("step", [0, 1, 2500, 4999, 5000, 5001, 75_000, 149_999, 150_000, 10**6])
def test_schedule_is_the_published_one(step):
    expected = optimizer_oracle.warmup_poly(step, 5e-4, 150_000, 5000)
    assert float(COCO(step)) == pytest.approx(expected, rel=1e-4, abs=1e-10)


def test_rate_drops_at_the_end_of_the_warm_up():
    assert float(COCO(4999)) / 5e-4 == pytest.approx(0.9998)
    assert float(COCO(5000)) / 5e-4 == pytest.approx(0.970, abs=5e-4)


def test_schedule_without_warm_up_and_with_an_end():
    schedule = WarmupPoly(1.0, 10, 0, 1.0, 0.5)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 5, 10)], [1.0, 0.75, 0.5])


def test_schedule_survives_a_round_trip():
    copy = WarmupPoly(**COCO.get_config())
    assert float(copy(70_000)) == float(COCO(70_000))


def variables(**values):
    return {
        name: tf.Variable(np.asarray(value, np.float32), name=name)
        for name, value in values.items()
    }


def random_step(rng, shapes):
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_three_steps_equal_the_oracle():
    rng = np.random.default_rng(0)
    shapes = {"part/kernel": [3, 2], "part/bias": [2], "slow/kernel": [2, 2], "slow/gamma": [2]}
    start = random_step(rng, shapes)
    ours = variables(**start)
    slow = [ours["slow/kernel"], ours["slow/gamma"]]
    schedule = WarmupPoly(0.1, 10, 2, 0.9, 0.0)
    optimizer = AdamW(
        schedule, 0.05, slow_variables=slow, slow_multiplier=0.1, beta_1=0.9, beta_2=0.999
    )
    oracles = {
        name: optimizer_oracle.AdamW(value, decay=0.05 if name.endswith("kernel") else 0.0)
        for name, value in start.items()
    }
    for step in range(4):
        gradients = random_step(rng, shapes)
        optimizer.apply_gradients([(tf.constant(gradients[n]), v) for n, v in ours.items()])
        rate = optimizer_oracle.warmup_poly(step, 0.1, 10, 2)
        for name, oracle in oracles.items():
            oracle.step(gradients[name], rate * (0.1 if name.startswith("slow") else 1.0))
            np.testing.assert_allclose(ours[name], oracle.value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(optimizer.iterations) == 4


def test_gradients_are_clipped_by_their_global_norm():
    shapes = {"a/kernel": [4], "b/bias": [3]}
    rng = np.random.default_rng(1)
    start, gradients = random_step(rng, shapes), random_step(rng, shapes)
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))

    def after(scale, clip_norm):
        ours = variables(**start)
        # With a large epsilon, the step depends on the size of the gradient.
        optimizer = AdamW(0.1, 0.0, clip_norm=clip_norm, epsilon=1.0)
        optimizer.apply_gradients([(gradients[n] * scale, v) for n, v in ours.items()])
        return [value.numpy() for value in ours.values()]

    for clipped, scaled in zip(after(1.0, norm / 4), after(0.25, 0.0)):
        np.testing.assert_allclose(clipped, scaled, rtol=1e-5)
    for clipped, plain in zip(after(1.0, norm * 4), after(1.0, 0.0)):
        np.testing.assert_array_equal(clipped, plain)


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"slow_multiplier": 0.25}])
def test_gathered_variables_are_treated_like_others(options):
    """The gradient of a gather holds a row as often as it was gathered."""
    results = []
    for rows in ([0, 0, 0, 1], None):
        table = tf.Variable([[3.0], [1.0]], name="table")
        optimizer = AdamW(0.1, 0.0, slow_variables=[table], epsilon=1.0, **options)
        with tf.GradientTape() as tape:
            gathered = table * [[3.0], [1.0]] if rows is None else tf.gather(table, rows)
            loss = tf.reduce_sum(gathered)
        optimizer.apply_gradients([(tape.gradient(loss, table), table)])
        results.append(table.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_variables_without_a_gradient_stay():
    ours = variables(**{"a/kernel": [1.0], "b/kernel": [1.0]})
    AdamW(0.1, 0.05).apply_gradients(
        [(tf.constant([1.0]), ours["a/kernel"]), (None, ours["b/kernel"])]
    )
    assert float(ours["a/kernel"][0]) != 1.0
    assert float(ours["b/kernel"][0]) == 1.0


@pytest.fixture(scope="module")
def laptop():
    experiment = kmax_tf.load_experiment(
        "shapes/laptop.textproto",
        [
            "training.optimizer.backbone_multiplier=0.25",
            "training.optimizer.clip_norm=0",
            "training.optimizer.warmup_steps=0",
            "training.optimizer.learning_rate=0.5",
            "training.optimizer.adamw.weight_decay=0.5",
        ],
    )
    return experiment, kmax_tf.build_model(experiment)


def test_decayed_variables_are_exactly_the_kernels(laptop):
    """With no gradient, a step changes what decays, and nothing else."""
    experiment, model = laptop
    optimizer = build_optimizer(experiment.training, model.backbone.trainable_variables)
    trained = model.trainable_variables
    before = [variable.numpy() for variable in trained]
    optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in trained])
    backbone = {id(variable) for variable in model.backbone.trainable_variables}
    kernels = 0
    for variable, old in zip(trained, before):
        leaf = variable.name.rsplit("/", 1)[-1]
        is_kernel = leaf in ("kernel:0", "depthwise_kernel:0", "qkv_kernel:0")
        rate = 0.5 * (0.25 if id(variable) in backbone else 1.0)
        factor = 1 - rate * 0.5 if is_kernel else 1.0
        np.testing.assert_allclose(variable, old * factor, rtol=1e-5, err_msg=variable.name)
        kernels += is_kernel
        if not is_kernel:
            assert leaf.split(":")[0] in (
                "gamma",
                "beta",
                "bias",
                "cluster_centers",
                "query_positions",
                "key_positions",
                "value_positions",
            )
    assert kernels > 50


def test_names_of_variables_are_unique(laptop):
    """Decay and slow variables go by name."""
    names = [variable.name for variable in laptop[1].variables]
    assert len(set(names)) == len(names)


def test_experiment_reaches_the_optimizer():
    experiment = kmax_tf.load_experiment("coco/resnet50.textproto")
    optimizer = build_optimizer(experiment.training, [])
    config = optimizer.get_config()
    assert optimizer.slow_multiplier == pytest.approx(0.1)
    assert optimizer.global_clip_norm == 0.0
    assert config["weight_decay_rate"] == pytest.approx(0.05)
    assert config["beta_1"] == pytest.approx(0.9)
    assert config["beta_2"] == pytest.approx(0.999)
    assert config["epsilon"] == pytest.approx(1e-7)
    assert isinstance(optimizer.learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    assert float(optimizer.learning_rate(75_000)) == pytest.approx(float(COCO(75_000)))
