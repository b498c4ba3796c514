"""Restoring the weights of a model from our own checkpoints, every variable accounted for."""

from __future__ import annotations

import dataclasses
import os

import tensorflow as tf

from kmax_tf.checkpoints.folders import latest_checkpoint
from kmax_tf.errors import UserError
from kmax_tf.files.writing import plain_path
from kmax_tf.model.kmax import KMaX
from kmax_tf.wording import count_of

# What keys of variables end in.
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_STEP = f"global_step{SUFFIX}"
# What TensorFlow raises for a checkpoint that is damaged, here or there.
DAMAGED = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of another model."""


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What a restoration did.

    Attributes:
      checkpoint: prefix of the checkpoint that was read.
      step: global step at which it was written; -1 if it holds none.
      restored: number of variables that got their values from it.
    """

    checkpoint: str
    step: int
    restored: int

    def summary(self) -> str:
        """Returns one line for people."""
        step = f" (step {self.step})" if self.step >= 0 else ""
        return f"restored {count_of(self.restored, 'variable')} of {self.checkpoint}{step}"


def find_checkpoint(path: str | os.PathLike[str]) -> str:
    """Returns the prefix of the checkpoint that a path means: itself, or the latest of a folder.

    Raises:
      CheckpointError: there is none.
    """
    path = os.fspath(path)
    if tf.io.gfile.isdir(path):
        latest = latest_checkpoint(path)
        if latest is None:
            raise CheckpointError(
                f"the folder {path} holds no checkpoint (no file named 'checkpoint', or what it "
                "names is gone); train first, or give the prefix of a checkpoint, such as ckpt-1000"
            )
        return latest
    prefix = path.removesuffix(".index")
    if not tf.io.gfile.exists(prefix + ".index"):
        raise CheckpointError(f"there is no checkpoint {prefix}: {prefix}.index does not exist")
    return prefix


def recorded_experiment(checkpoint: str) -> str:
    """Returns the experiment file that a run recorded beside a checkpoint, or one folder above.

    Raises:
      CheckpointError: there is none.
    """
    folder = os.path.dirname(os.path.abspath(checkpoint))
    for candidate in (folder, os.path.dirname(folder)):  # best/ lies in the run's folder
        path = os.path.join(candidate, "experiment.textproto")
        if tf.io.gfile.exists(path):
            return path
    raise CheckpointError(
        f"no experiment.textproto beside {checkpoint} or one folder above: give the experiment file"
    )


def restore_weights(model: KMaX, path: str | os.PathLike[str]) -> RestoreReport:
    """Restores all weights of a model from a checkpoint of a training run.

    Args:
      model: as `kmax_tf.build_model` returns it.
      path: prefix of a checkpoint, or a folder whose latest is taken.

    Raises:
      CheckpointError: the checkpoint is missing, damaged or of another model; the message names
        what differs.
    """
    prefix = find_checkpoint(path)
    try:
        shapes = dict(tf.train.list_variables(plain_path(prefix)))
    except DAMAGED as error:
        raise CheckpointError(f"cannot read the checkpoint {prefix}: {error}") from error
    expected = checkpoint_shapes(model)
    _check_same(prefix, expected, shapes)
    checkpoint = tf.train.Checkpoint(**model.checkpoint_items)
    try:
        checkpoint.restore(plain_path(prefix)).expect_partial().assert_existing_objects_matched()
        step = int(tf.train.load_variable(plain_path(prefix), _STEP)) if _STEP in shapes else -1
    except (*DAMAGED, AssertionError) as error:
        raise CheckpointError(f"cannot read the checkpoint {prefix}: {error}") from error
    return RestoreReport(prefix, step, len(expected))


def checkpoint_shapes(model: KMaX) -> dict[str, list[int]]:
    """Returns the shape of each variable of a model by its key in checkpoints."""
    view = tf.train.Checkpoint(**model.checkpoint_items)
    shapes = {}
    pending = [("", view)]
    seen = {id(view)}
    while pending:  # breadth first, as TensorFlow names the variables
        path, node = pending.pop(0)
        for name, child in tf.train.TrackableView.children(node).items():
            if id(child) in seen:
                continue
            seen.add(id(child))
            child_path = f"{path}/{name}" if path else name
            if isinstance(child, tf.Variable):
                shapes[child_path + SUFFIX] = child.shape.as_list()
            pending.append((child_path, child))
    return {key: shape for key, shape in shapes.items() if not key.startswith("save_counter")}


def _check_same(prefix: str, expected: dict[str, list[int]], found: dict[str, list[int]]) -> None:
    missing = [key for key in expected if key not in found]
    items = {key.split("/")[0] for key in expected}
    unexpected = [
        key
        for key in found
        if key.split("/")[0] in items and ".OPTIMIZER_SLOT" not in key and key not in expected
    ]
    reshaped = [
        f"{key.removesuffix(SUFFIX)} {found[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in found and list(found[key]) != shape
    ]
    problems = [
        f"{count_of(len(rows), 'variable')} {what} (such as {', '.join(rows[:3])})"
        for what, rows in (
            ("of the model not in it", [key.removesuffix(SUFFIX) for key in missing]),
            ("of it not in the model", [key.removesuffix(SUFFIX) for key in unexpected]),
            ("of another shape", reshaped),
        )
        if rows
    ]
    if problems:
        raise CheckpointError(
            f"the checkpoint {prefix} is of another model: {'; '.join(problems)}. Use the "
            "experiment that it was trained with (experiment.textproto in its run's folder). "
            f"{way_to_other_classes(prefix)}"
        )


def way_to_other_classes(checkpoint: str | os.PathLike[str]) -> str:
    """Says how a model of other classes starts from a checkpoint of ours."""
    return (
        "To start training with other classes from it, `kmax export-weights --format=deeplab2 "
        f"--checkpoint={os.fspath(checkpoint)} --output=WEIGHTS`, then `kmax import-weights "
        "--config=NEW_EXPERIMENT --checkpoint=WEIGHTS --source-dataset=OLD_DESCRIPTION "
        "--output=START` (the description is dataset.textproto in the folder of the old records), "
        "and train with training.initial_checkpoint=START and a new model_dir."
    )
