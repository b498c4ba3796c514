"""A step on two replicas, or compiled by XLA, is the step on one device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.processes import run_python


def weights(folder: Path, devices: int, jit_compile: bool) -> dict[str, np.ndarray]:
    output = folder / f"{devices}-{jit_compile}.npz"
    mode = "jit" if jit_compile else "plain"
    run_python("-m", "tests.training.replicas", devices, mode, output)
    return dict(np.load(output))


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return weights(tmp_path_factory.mktemp("one"), 1, False)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Losses agree closely; weights do, but for the few whose gradient is all but zero.

    Adam moves such a weight by up to the rate, 1e-3, to either side. Moving variances differ by
    n / (n - 1), which only Keras' local batch normalization applies.
    """
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


@pytest.mark.slow
def test_two_replicas_train_as_one(one_device: dict[str, np.ndarray], tmp_path: Path) -> None:
    assert_same(weights(tmp_path, 2, False), one_device)


@pytest.mark.slow
def test_a_step_compiled_by_xla_is_the_same(
    one_device: dict[str, np.ndarray], tmp_path: Path
) -> None:
    assert_same(weights(tmp_path, 1, True), one_device)
