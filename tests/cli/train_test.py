"""`kmax train` before its first step."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kmax_tf.cli.main import main
from kmax_tf.config import load_experiment
from kmax_tf.run_record import write_run_record
from kmax_tf.training.run import check_run

LAPTOP = "shapes/laptop.textproto"


@pytest.fixture
def run(tmp_path):
    """The folder of a run."""
    write_run_record(load_experiment(LAPTOP), tmp_path)
    tf.train.Checkpoint(weight=tf.Variable(1.0)).save(str(tmp_path / "ckpt"))
    return tmp_path


def test_a_run_that_cannot_start_leaves_the_record_of_the_one_before(run, monkeypatch, capsys):
    monkeypatch.setattr("kmax_tf.data.builder.check_records", lambda *args, **kwargs: [])
    before = (run / "experiment.textproto").read_text()
    changes = ["--set=runtime.num_gpus=4", "--set=training.optimizer.learning_rate=7"]
    assert main(["train", f"--config={LAPTOP}", f"--model_dir={run}", *changes]) == 2
    assert "kmax: error: " in capsys.readouterr().err  # GPUs, or threads that run already
    assert (run / "experiment.textproto").read_text() == before


def test_a_run_goes_on_with_a_default_that_is_written_out(run):
    check_run(load_experiment(LAPTOP, ["model.transformer_decoder.cross_attention=KMEANS"]), run)
