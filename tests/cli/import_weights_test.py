"""kmax export-weights and import-weights: there and back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kmax_tf
from kmax_tf.cli import main
from kmax_tf.run_record import write_run_record
from tests.training.tiny import OVERRIDES, tiny_experiment

CONFIG = ["--config=shapes/laptop.textproto", *(f"--set={change}" for change in OVERRIDES)]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What a training run leaves."""
    folder = tmp_path_factory.mktemp("run")
    experiment = tiny_experiment()
    write_run_record(experiment, folder)
    model = kmax_tf.build_model(experiment)
    checkpoint = tf.train.Checkpoint(**model.checkpoint_items)
    tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1).save(checkpoint_number=5)
    return folder


def weights(folder):
    path = tf.train.latest_checkpoint(str(folder))
    reader = tf.train.load_checkpoint(path)
    return {key: reader.get_tensor(key) for key, _ in tf.train.list_variables(path)}


@pytest.mark.parametrize(
    ("format", "name"),
    [("deeplab2", "ckpt"), ("pytorch", "x.pkl"), ("safetensors", "x.safetensors")],
)
def test_there_and_back(run_folder, tmp_path, capsys, format, name):
    file, back = tmp_path / name, tmp_path / "back"
    arguments = ["--format", format, "--checkpoint", str(run_folder), "--output", str(file)]
    assert main.main(["export-weights", *arguments]) == 0
    written = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert written
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("wrote"))
    assert all(str(path) in line for path in written)
    arguments = [*CONFIG, "--checkpoint", str(file), "--output", str(back)]
    assert main.main(["import-weights", *arguments]) == 0
    before, after = weights(run_folder), weights(back)
    # The other two count how often was saved, and list what there is.
    assert f"imported {len(before) - 2} variables" in capsys.readouterr().out
    assert set(before) == set(after)
    for key in set(before) - {"save_counter/.ATTRIBUTES/VARIABLE_VALUE"}:
        np.testing.assert_array_equal(before[key], after[key], err_msg=key)
    assert (back / "experiment.textproto").exists()
