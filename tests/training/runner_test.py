"""Checkpoints of a run, and going back to them, with a model of a few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import tensorflow as tf
from official.core import actions

from kmax_tf.training.run import evaluation_line
from kmax_tf.training.runner import BestCheckpoint, CheckpointManager
from kmax_tf.training.stability import NonFiniteError, Patience
from tests.training.small import adamw, batch, small_model, small_step, state


class Run:
    """A run that is trained by hand."""

    def __init__(self, folder: Path, **rules: float):
        self.folder = folder
        self.model = small_model()
        self.training_step = small_step(self.model, adamw(**rules))
        self.optimizer = self.training_step.optimizer
        self.global_step = tf.Variable(0, dtype=tf.int64, name="global_step")
        self._function = tf.function(self.training_step)

    def train(self, *seeds: int, spoiled: bool = False) -> None:
        for seed in seeds:
            x, targets = batch(seed)
            x = x * np.nan if spoiled else x
            self._function(tf.constant(x), {"y": tf.constant(targets["y"])})
            self.global_step.assign_add(1)

    def step(self) -> int:
        return int(self.global_step)

    def manager(
        self, directory: Optional[Path] = None, interval: int = 1, init_fn=None
    ) -> CheckpointManager:
        """Makes what saves into the run's folder, or as a worker into another."""
        return CheckpointManager(
            self.training_step,
            str(self.folder),
            tf.train.Checkpoint(
                global_step=self.global_step, model=self.model, optimizer=self.optimizer
            ),
            self.global_step,
            directory=str(directory or self.folder),
            max_to_keep=5,
            checkpoint_interval=interval,
            init_fn=init_fn,
        )


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.index"))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("averages", [False, True])
def test_a_run_that_is_resumed_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, averages: bool
) -> None:
    rules = {"average_decay": 0.9, "lookahead_period": 2} if averages else {}
    whole = Run(tmp_path / "whole", **rules)
    whole.manager().restore_or_initialize()
    whole.train(0, 1, 2, 3)

    first = Run(tmp_path / "run", **rules)
    manager = first.manager()
    assert manager.restore_or_initialize() is None
    first.train(0, 1)
    assert manager.save(first.step()).endswith("ckpt-2")
    before = state(first.training_step)

    second = Run(tmp_path / "run", **rules)
    restored = second.manager().restore_or_initialize()
    assert restored.endswith("ckpt-2")
    assert second.step() == 2
    assert_same(state(second.training_step), before)
    second.train(2, 3)
    assert_same(state(second.training_step), state(whole.training_step))


def test_checkpoints_hold_the_averages_as_the_weights(tmp_path: Path) -> None:
    run = Run(tmp_path, average_decay=0.9)
    manager = run.manager()
    manager.restore_or_initialize()
    run.train(0, 1, 2)
    path = manager.save(run.step())
    kernel = run.model.get_layer("first").kernel
    average = run.optimizer.get_slot(kernel, "average").numpy()
    assert not np.array_equal(average, kernel)
    key = "model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(tf.train.load_variable(path, key), average)


def test_a_run_begins_with_a_checkpoint_of_what_was_initialized(tmp_path: Path) -> None:
    run = Run(tmp_path, average_decay=0.9)
    kernel = run.model.get_layer("first").kernel
    run.manager(init_fn=lambda: kernel.assign(kernel * 2)).restore_or_initialize()
    assert names(tmp_path) == ["ckpt-0"]
    np.testing.assert_array_equal(run.optimizer.get_slot(kernel, "average"), kernel)


def test_checkpoints_are_saved_at_intervals_and_not_while_steps_fail(tmp_path: Path) -> None:
    run = Run(tmp_path)
    manager = run.manager(interval=2)
    manager.restore_or_initialize()
    run.train(0)
    assert manager.save(run.step()) is None  # too soon
    run.train(1)
    assert manager.save(run.step()) is not None
    run.train(2, 3, spoiled=True)
    assert manager.save(run.step()) is None
    assert manager.save(run.step(), check_interval=False) is None
    run.train(4)
    assert manager.save(run.step()) is not None
    assert manager.save(run.step(), check_interval=False) is None  # it is there already
    assert names(tmp_path) == ["ckpt-0", "ckpt-2", "ckpt-5"]


def test_workers_restore_the_checkpoint_of_the_chief(tmp_path: Path) -> None:
    """Their own are in a folder that is gone after a restart."""
    chief = Run(tmp_path / "run")
    manager = chief.manager(interval=2)
    manager.restore_or_initialize()
    chief.train(0, 1)
    manager.save(chief.step())
    worker = Run(tmp_path / "run")
    theirs = worker.manager(tmp_path / "temporary", interval=2)
    assert theirs.restore_or_initialize().endswith("run/ckpt-2")
    assert worker.step() == 2
    assert_same(state(worker.training_step), state(chief.training_step))
    for run, its_manager in ((chief, manager), (worker, theirs)):
        run.train(2)
        assert its_manager.save(run.step()) is None  # both save at the same steps
        run.train(3)
        assert its_manager.save(run.step()) is not None


def test_a_run_goes_back_a_bounded_number_of_times(tmp_path: Path) -> None:
    run = Run(tmp_path, average_decay=0.9)
    manager = run.manager()
    manager.restore_or_initialize()
    said: list[str] = []
    patience = Patience(failures_in_a_row=3, rollbacks=2)

    def must_go_back() -> bool:
        where = f"step {run.step()}"
        return patience.must_go_back(
            run.training_step.failures, where, "the last checkpoint", said.append
        )

    run.train(0, 1)
    assert not must_go_back()
    assert said == []
    manager.save(run.step())
    good = state(run.training_step)
    for attempt in (1, 2):
        run.train(2)  # changes the weights
        run.train(3, 4, spoiled=True)
        assert not must_go_back()
        assert "step 5: skipped 2 of the last steps" in said[-1]
        run.train(5, spoiled=True)
        assert must_go_back()
        assert f"going back to the last checkpoint ({attempt} of at most 2 times)" in said[-1]
        actions.RecoveryAction(manager)({})
        assert run.step() == 2
        assert_same(state(run.training_step), good)
    run.train(2, 3, 4, spoiled=True)
    with pytest.raises(NonFiniteError, match="after going back 2 times: loss terms"):
        must_go_back()


def test_a_best_score_of_another_kind_counts_for_nothing(tmp_path):
    (tmp_path / "info.json").write_text('{"pq/all": 50.0}')
    assert BestCheckpoint(str(tmp_path), "ap", "higher").best_ckpt_logs is None
    assert BestCheckpoint(str(tmp_path), "pq/all", "higher").best_ckpt_logs == {"pq/all": 50.0}


def test_a_line_tells_scores_of_what_is_there():
    scores = {"pq/all": 40.0, "pq/things": 30.0, "miou": 20.0, "sq/all": 1.0, "ap": 10.0}
    assert evaluation_line(scores) == "evaluation: mask AP 10.0  PQ 40.0  mIoU 20.0"
    scores["pq/stuff"] = 50.0
    line = "evaluation: PQ 40.0 (things 30.0, stuff 50.0)  mIoU 20.0"
    assert evaluation_line(scores) == line
