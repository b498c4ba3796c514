"""Writing of SavedModels as versions of a TensorFlow Serving folder, and what lies beside them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence

import tensorflow as tf

from kmax_tf.config import Experiment, experiment_text, label_space
from kmax_tf.errors import OutputError, UserError
from kmax_tf.export.serving_model import SIGNATURES, ServingModel
from kmax_tf.export.version_folder import EXPERIMENT_FILE, LABELS_FILE, labels_as_json
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.model.kmax import KMaX


def export_saved_model(
    model: KMaX,
    experiment: Experiment,
    output: str | os.PathLike[str],
    signatures: Sequence[str] = SIGNATURES,
) -> str:
    """Writes a SavedModel as the next version of a TensorFlow Serving folder.

    Args:
      model: with its weights restored.
      experiment: the resolved experiment; its eval_data says how images are fitted.
      output: folder of the versions; the first is OUTPUT/1.
      signatures: names of `ServingModel`'s that it has.

    Returns:
      The folder of the new version, which appears only when it is complete. Class names, colours
      and ids lie in its assets.extra/labels.json, the experiment beside it.

    Raises:
      UserError: there is no such signature.
      OutputError: the folder cannot be written.
    """
    unknown = [name for name in signatures if name not in SIGNATURES]
    if unknown:
        raise UserError(f"no signature {unknown[0]!r}; there are: {', '.join(SIGNATURES)}")
    output = os.fspath(output)
    check_writable(output)
    target = os.path.join(output, str(next_version(output)))
    serving = ServingModel(model, experiment)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as scratch:
            unfinished = os.path.join(scratch, "model")
            functions = {name: getattr(serving, name) for name in signatures}
            tf.saved_model.save(serving, unfinished, signatures=functions)
            labels = json.dumps(labels_as_json(label_space(experiment.dataset)), indent=1)
            os.makedirs(os.path.join(unfinished, "assets.extra"), exist_ok=True)
            write_atomically(os.path.join(unfinished, LABELS_FILE), labels, own=True)
            text = experiment_text(experiment)
            write_atomically(os.path.join(unfinished, EXPERIMENT_FILE), text, own=True)
            os.rename(unfinished, target)
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(f"cannot write the export {target}: {error}") from error
    return target


def next_version(output: str) -> int:
    """Returns one more than the largest version in a TensorFlow Serving folder."""
    versions = [int(name) for name in os.listdir(output) if re.fullmatch(r"\d+", name)]
    return max(versions, default=0) + 1
