"""OpenVINO: `model.xml` and `model.bin`."""

from __future__ import annotations

import os
import tempfile

import tensorflow as tf

from kmax_tf.export.formats.program import Program


def write(program: Program, folder: str) -> list[str]:
    """Writes the program, with weights in float32; returns the file to load."""
    import openvino as ov

    with tempfile.TemporaryDirectory(prefix=".openvino-", dir=folder) as scratch:
        tf.saved_model.save(program, scratch, signatures={"serving_default": program.segment})
        model = ov.convert_model(scratch)
    ov.save_model(model, os.path.join(folder, "model.xml"), compress_to_fp16=False)
    return ["model.xml"]
