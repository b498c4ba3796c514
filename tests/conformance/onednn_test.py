"""The same results, and gradients of everything, with oneDNN and without it.

TensorFlow chooses by the CPU and once a process, so each is a process of its own: no machine hides
what fails on another.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# Of float32, as a share of the largest value of a layer's outputs and gradients.
ROUNDING = 2.0**-24
SETTINGS = {"on": "1", "off": "0"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What on_these_kernels.py computes, by setting."""
    folder = tmp_path_factory.mktemp("onednn")
    module = "tests.conformance.on_these_kernels"
    running = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, str(folder / f"{name}.npz")],
            cwd=ROOT,
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, value in SETTINGS.items()
    }
    said = {name: process.communicate(timeout=600)[0] for name, process in running.items()}
    for name, process in running.items():
        assert process.returncode == 0, f"oneDNN {name}: {said[name]}"
    return {name: dict(np.load(folder / f"{name}.npz")) for name in SETTINGS}


def test_both_settings_are_what_they_say(results):
    assert not results["off"]["onednn"]
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):  # others may have it or not
        assert results["on"]["onednn"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_operation_and_its_gradient_can_be_computed(results, setting):
    assert results[setting]["failures"].tolist() == []


def passes(results):
    """Yields each pass with its values under both settings."""
    names = {name.rsplit("/", 1)[0] for name in results["on"] if "/" in name}
    for name in sorted(names):
        keys = [key for key in results["on"] if key.rsplit("/", 1)[0] == name]
        yield name, [np.concatenate([r[k].ravel() for k in keys]) for r in results.values()]


def test_operations_equal_their_definitions(results):
    """Of those that this setting has the kernels of, and the other one."""
    for setting in results.values():
        for key in [key for key in setting if "/definition/" in key]:
            for mode in ("graph", "inference"):
                found, expected = setting[key.replace("definition", mode)], setting[key]
                scale = max(1.0, np.abs(expected).max())
                assert np.abs(found - expected).max() <= 100 * ROUNDING * scale, (key, mode)


def test_operations_layers_and_their_gradients_are_the_same(results):
    assert results["on"].keys() == results["off"].keys()
    compared = {name: values for name, values in passes(results) if not name.startswith("step/")}
    assert len(compared) > 100
    for name, (on, off) in compared.items():
        assert np.abs(on - off).max() <= 200 * ROUNDING * np.abs(on).max(), name


@pytest.mark.parametrize("form", ["fast", "definitions"])
def test_a_training_step_of_a_dilated_model_is_the_same(results, form):
    """To what rounding becomes on its way through all layers and back."""
    expected = dict(passes(results))["step/fast"][0]
    assert np.all(expected > 0)
    for found in dict(passes(results))[f"step/{form}"]:
        np.testing.assert_allclose(found, expected, rtol=1e-3)
