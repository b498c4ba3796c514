"""A step on two replicas, or compiled by XLA, is the step on one device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.processes import run_python


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory):
    """Returns a function that trains in a process of its own, once what is asked for again."""
    folder: Path = tmp_path_factory.mktemp("replicas")

    def run(*words: object) -> dict[str, np.ndarray]:
        output = folder / f"{'-'.join(map(str, words))}.npz"
        if not output.exists():
            run_python("-m", "tests.training.replicas", *words, output)
        return dict(np.load(output))

    return run


@pytest.mark.parametrize("mode", ["plain", pytest.param("jit", marks=pytest.mark.slow)])
def test_two_replicas_clip_skip_and_average_as_one(train, mode: str) -> None:
    expected, found = train("small", 1, "plain"), train("small", 2, mode)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith("failures"):
            assert value.tolist() == found[name].tolist() == [1, 1, 1]
        assert np.isfinite(value).all()
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "mode"), [(2, "plain"), (1, "jit")])
def test_the_whole_model_trains_alike(train, devices: int, mode: str) -> None:
    """Losses agree closely; weights do, but for the few whose gradient is all but zero.

    Adam moves such a weight by up to the rate, 1e-3, to either side. Moving variances differ by
    n / (n - 1), which only Keras' local batch normalization applies.
    """
    expected, found = train("tiny", 1, "plain"), train("tiny", devices, mode)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "metric|gradient_norm":
            np.testing.assert_allclose(found[name], value, rtol=1e-2, err_msg=name)
        elif name.startswith("metric"):
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
        elif name.endswith("moving_variance:0"):
            np.testing.assert_allclose(found[name], value, rtol=2e-2, err_msg=name)
        else:
            difference = np.abs(found[name] - value)
            assert difference.mean() < 5e-5, name
            assert difference.max() < 4e-3, name
