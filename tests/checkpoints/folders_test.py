import pytest
import tensorflow as tf

from kmax_tf.checkpoints.folders import (
    FolderCheckpointManager,
    checkpoints_as_they_come,
    latest_checkpoint,
)
from kmax_tf.checkpoints.restore import CheckpointError, find_checkpoint
from kmax_tf.files.writing import plain_path
from kmax_tf.training.runner import BestCheckpoint
from tests.strange_names import STRANGE_NAMES


def checkpoint(value=0.0):
    return tf.train.Checkpoint(weight=tf.Variable(value))


def names(folder):
    return sorted(path.name for path in folder.glob("*.index"))


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_a_folder_is_no_pattern(tmp_path, name):
    folder, neighbours = tmp_path / name, [tmp_path / other for other in ("rec1", "rec 1")]
    saved = checkpoint()
    for other in neighbours:
        tf.train.CheckpointManager(saved, str(other), max_to_keep=None).save(1)
    manager = FolderCheckpointManager(saved, str(folder), max_to_keep=2)
    assert latest_checkpoint(folder) is None
    for step in (1, 2, 10):
        saved.weight.assign(step)
        manager.save(step)
    assert names(folder) == ["ckpt-10.index", "ckpt-2.index"]
    assert all(names(other) == ["ckpt-1.index"] for other in neighbours)
    restored = checkpoint(99.0)
    restored.restore(plain_path(find_checkpoint(folder))).assert_consumed()
    assert restored.weight.numpy() == 10


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_the_name_of_a_checkpoint_is_no_pattern(tmp_path, name):
    saved = checkpoint(3.0)
    saved.write(str(tmp_path / name))
    checkpoint(5.0).write(str(tmp_path / "rec1"))
    restored = checkpoint()
    restored.read(plain_path(find_checkpoint(tmp_path / name))).assert_consumed()
    assert restored.weight.numpy() == 3


@pytest.mark.parametrize("name", ["run[12]", "run*"])
def test_the_best_checkpoint_is_kept_in_any_folder(tmp_path, name):
    saved = checkpoint()
    other = str(tmp_path / "run1")
    tf.train.CheckpointManager(saved, other, 5, checkpoint_name="best_ckpt").save(1)
    best = BestCheckpoint(str(tmp_path / name), "pq", "higher")
    for step, pq in enumerate((1.0, 3.0, 2.0), start=1):
        saved.weight.assign(pq)
        best.maybe_export_checkpoint(saved, {"pq": pq}, step)
    assert len(names(tmp_path / name)) == len(names(tmp_path / "run1")) == 1
    restored = checkpoint()
    restored.restore(plain_path(latest_checkpoint(tmp_path / name))).assert_consumed()
    assert restored.weight.numpy() == 3


def test_checkpoints_are_waited_for_until_none_comes(tmp_path):
    manager = FolderCheckpointManager(checkpoint(), str(tmp_path), max_to_keep=1)
    manager.save(1)
    seen = []
    for prefix in checkpoints_as_they_come(tmp_path, timeout=0.05):
        seen.append(prefix)
        if len(seen) < 3:
            manager.save(len(seen) + 1)
    assert [prefix.rpartition("-")[2] for prefix in seen] == ["1", "2", "3"]
    assert list(checkpoints_as_they_come(tmp_path / "absent", timeout=0.05)) == []


def test_what_is_gone_is_no_checkpoint(tmp_path):
    FolderCheckpointManager(checkpoint(), str(tmp_path), max_to_keep=1).save(1)
    (tmp_path / "ckpt-1.index").unlink()
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)
