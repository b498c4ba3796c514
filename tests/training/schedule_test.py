"""The schedules against oracles, and the scaling of the rate with the batch."""

from __future__ import annotations

import numpy as np
import pytest

import kmax_tf
from kmax_tf.training.builder import build_schedule
from kmax_tf.training.run import rate_line
from kmax_tf.training.schedule import WarmupCosine, WarmupPoly
from tests.reference import optimizer_oracle

COCO = WarmupPoly(5e-4, 150_000, 5000, 0.0, 0.9)
STEPS = [0, 1, 2500, 4999, 5000, 5001, 75_000, 149_999, 150_000, 10**6]


@pytest.mark.parametrize("step", STEPS)
def test_poly_is_the_published_one(step):
    expected = optimizer_oracle.warmup_poly(step, 5e-4, 150_000, 5000)
    assert float(COCO(step)) == pytest.approx(expected, rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("step", STEPS)
def test_cosine(step):
    found = WarmupCosine(5e-4, 150_000, 5000, 1e-5)(step)
    expected = optimizer_oracle.warmup_cosine(step, 5e-4, 150_000, 5000, 1e-5)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-10)


def test_poly_without_warm_up_and_with_an_end():
    schedule = WarmupPoly(1.0, 10, 0, 0.5, 1.0)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 5, 10)], [1.0, 0.75, 0.5])


@pytest.mark.parametrize("schedule", [COCO, WarmupCosine(1.0, 100, 10, 0.1)])
def test_schedules_survive_a_round_trip(schedule):
    copy = type(schedule)(**schedule.get_config())
    assert float(copy(70)) == float(schedule(70))


def load(*overrides):
    return kmax_tf.load_experiment("coco/resnet50.textproto", list(overrides))


def test_experiment_reaches_the_schedule():
    assert float(build_schedule(load())(75_000)) == float(COCO(75_000))
    changed = load(
        "training.steps=1000",
        "training.optimizer={cosine {} warmup_steps: 10 end_learning_rate: 1e-5}",
    )
    expected = WarmupCosine(5e-4, 1000, 10, 1e-5)
    for step in (5, 500):
        assert float(build_schedule(changed)(step)) == pytest.approx(float(expected(step)))


def test_the_rate_scales_with_the_batch_if_asked():
    given = load("train_data.batch_size=16")
    assert build_schedule(given).base_rate == pytest.approx(5e-4)
    assert rate_line(given) == "learning rate 0.0005, as given, for batches of 16"
    scaled = load("train_data.batch_size=16", "training.optimizer.reference_batch_size=64")
    assert build_schedule(scaled).base_rate == pytest.approx(1.25e-4)
    assert rate_line(scaled).startswith("learning rate 0.000125 = 0.0005 x 16 / 64: scaled from")
