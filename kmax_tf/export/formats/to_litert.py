"""LiteRT, once called TensorFlow Lite: in float32, or with a network of 8-bit integers."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.export.formats.program import Program


def write(
    program: Program, folder: str, images: Optional[Iterable[np.ndarray]] = None
) -> list[str]:
    """Writes the program.

    Args:
      program: of the model.
      folder: to write to.
      images: [1, h, w, 3] float32, by whose values integers are scaled; None: float32 throughout.

    Returns:
      The files to load: one, or the network in integers, and then the merging, which compares
      probabilities and stays in float32.
    """
    if images is None:
        return [_write(program, program.segment, folder, "model")]
    return [
        _write(program, program.predict, folder, "network", images),
        _write(program, program.merge, folder, "merging"),
    ]


def _write(
    program: Program,
    function: Any,
    folder: str,
    name: str,
    images: Optional[Iterable[np.ndarray]] = None,
) -> str:
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], program)
    if images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"image": image} for image in images)
    path = pathlib.Path(folder, f"{name}.tflite")
    path.write_bytes(converter.convert())
    return path.name
