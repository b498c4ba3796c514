"""LiteRT, once called TensorFlow Lite: in float32, or with products in 8-bit integers."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.export.formats.program import Program

# What is computed in integers, and nearly all of the work. Normalizations, attention and the sums
# over the pixels of a center stay in float32: in integers they lose half of the quality.
_IN_INTEGERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def write(
    program: Program, folder: str, images: Optional[Iterable[np.ndarray]] = None
) -> list[str]:
    """Writes the program.

    Args:
      program: of the model.
      folder: to write to.
      images: [1, h, w, 3] float32, by whose values integers are scaled; None: float32 throughout.

    Returns:
      The files to load: one, or the network and then the merging, as TensorFlow's calibration
      crashes where there are loops.
    """
    functions = {"model": program.segment}
    if images is not None:
        functions = {"network": program.predict, "merging": program.merge}
    for name, function in functions.items():
        concrete = function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], program)
        quantized = images is not None and name == "network"
        content = _quantized(converter, images) if quantized else converter.convert()
        pathlib.Path(folder, f"{name}.tflite").write_bytes(content)
    return [f"{name}.tflite" for name in functions]


def _quantized(converter: Any, images: Optional[Iterable[np.ndarray]]) -> bytes:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({"image": image} for image in images or ())
    every = {name for name in vars(BuiltinOperator) if name.isupper()}
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=sorted(every - _IN_INTEGERS)
    )
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    content: bytes = debugger.get_nondebug_quantized_model()
    return content
