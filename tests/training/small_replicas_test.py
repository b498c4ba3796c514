"""Two replicas decide alike: what is clipped, what is skipped, averages, parts of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.processes import run_python


def train(folder: Path, devices: int, mode: str) -> dict[str, np.ndarray]:
    output = folder / f"{devices}-{mode}.npz"
    run_python("-m", "tests.training.small_replicas", devices, mode, output)
    return dict(np.load(output))


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return train(tmp_path_factory.mktemp("one"), 1, "plain")


@pytest.mark.parametrize("mode", ["plain", pytest.param("jit", marks=pytest.mark.slow)])
def test_two_replicas_train_as_one(
    one_device: dict[str, np.ndarray], tmp_path: Path, mode: str
) -> None:
    found = train(tmp_path, 2, mode)
    assert found.keys() == one_device.keys()
    for name, value in one_device.items():
        if name.endswith("failures"):
            assert value.tolist() == found[name].tolist() == [1, 1, 1]
        assert np.isfinite(value).all()
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
