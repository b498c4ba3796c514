"""PyTorch's files, written by PyTorch 2.13 (tests/checkpoints/golden), read without it."""

from __future__ import annotations

import os
import pathlib
import pickle

import numpy as np
import pytest

from kmax_tf.checkpoints.exporter import write_state
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.checkpoints.torch_file import read_state

GOLDEN = pathlib.Path(__file__).parent / "golden"
FILES = sorted(path.name for path in GOLDEN.iterdir() if path.suffix != ".npz")


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(GOLDEN / "expected.npz"))


def check_equal(state, expected):
    assert set(state) == set(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.dtype, name
        np.testing.assert_array_equal(state[name], value, err_msg=name)


@pytest.mark.parametrize("name", FILES)
def test_files_of_pytorch(name, expected):
    check_equal(read_state(GOLDEN / name), expected)


@pytest.mark.parametrize("name", ["state.pkl", "state.safetensors"])
def test_what_is_written_is_read(tmp_path, name, expected):
    write_state(expected, tmp_path / name)
    check_equal(read_state(tmp_path / name), expected)


class _Program:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_not_run(tmp_path):
    path, made = tmp_path / "x.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"model": {"a": _Program(str(made))}}))
    with pytest.raises(CheckpointError, match="mkdir"):
        read_state(path)
    assert not made.exists()


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_one_clear_error(tmp_path, name):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    for left in range(0, len(data), max(1, len(data) // 25)):
        path.write_bytes(data[:left])
        with pytest.raises(CheckpointError, match="cannot read"):
            read_state(path)
