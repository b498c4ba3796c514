"""Exports for other runtimes, each with what a client needs beside it."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from typing import Optional

import tensorflow as tf

from kmax_tf.config import Experiment, experiment_text, label_space
from kmax_tf.errors import OutputError, UserError
from kmax_tf.export.formats import client
from kmax_tf.export.formats.calibration import Calibration
from kmax_tf.export.formats.program import Program
from kmax_tf.export.formats.table import writer_of
from kmax_tf.export.saved_model import next_version
from kmax_tf.export.version_folder import labels_as_json
from kmax_tf.files.writing import check_writable, write_atomically
from kmax_tf.model.kmax import KMaX


def export_format(
    model: KMaX,
    experiment: Experiment,
    output: str | os.PathLike[str],
    name: str,
    calibration: Optional[str] = None,
) -> str:
    """Writes a model for another runtime, as the next version in a folder.

    Args:
      model: with its weights restored.
      experiment: the resolved experiment; its eval_data says the size of the program.
      output: folder of the versions; the first is OUTPUT/1.
      name: of `table.FORMATS`.
      calibration: of litert: a folder of images or "records", by which the network's integers are
        scaled; None: float32.

    Returns:
      The folder of the new version, which appears only when it is complete. Beside the model lie
      model.json (what it is, its size), labels.json (what ids mean), experiment.textproto and
      client.py, which segments images with it.

    Raises:
      UserError: what the format needs isn't installed, or nothing can be calibrated by.
      OutputError: the folder cannot be written.
    """
    if calibration is not None and name != "litert":
        raise UserError(f"--calibration is for --format litert; {name} computes in float32")
    writer = writer_of(name)
    options = {} if calibration is None else {"images": Calibration(calibration, experiment)}
    output = os.fspath(output)
    check_writable(output)
    target = os.path.join(output, str(next_version(output)))
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as scratch:
            unfinished = os.path.join(scratch, "model")
            os.mkdir(unfinished)
            files = writer.write(Program(model, experiment), unfinished, **options)
            about = {
                "format": name,
                "precision": "float32" if calibration is None else "int8",
                "files": files,
                "size": list(experiment.eval_data.crop_size),
                "min_size": experiment.eval_data.min_size,
                "max_size": experiment.eval_data.max_size,
            }
            texts = {
                "model.json": json.dumps(about, indent=1),
                "labels.json": json.dumps(
                    labels_as_json(label_space(experiment.dataset)), indent=1
                ),
                "experiment.textproto": experiment_text(experiment),
                "client.py": pathlib.Path(client.__file__).read_text("utf-8"),
            }
            for file, text in texts.items():
                write_atomically(os.path.join(unfinished, file), text, own=True)
            os.rename(unfinished, target)
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(f"cannot write the export {target}: {error}") from error
    return target
