"""ONNX, by tf2onnx: `model.onnx`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.export.formats.program import Program

# The newest that tf2onnx writes.
_OPSET = 18
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def write(program: Program, folder: str) -> list[str]:
    """Writes the program; returns the file to load.

    Raises:
      UserError: there is an operation that tf2onnx can't convert.
    """
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        program.segment,
        program.segment.input_signature,
        opset=_OPSET,
        custom_op_handlers={"ResizeBilinear": (_resize, [])},
    )
    known = {"", "ai.onnx", "ai.onnx.ml"}
    unknown = sorted({node.op_type for node in model.graph.node if node.domain not in known})
    if unknown:
        raise UserError(f"tf2onnx cannot convert the operation {', '.join(unknown)}")
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(model.SerializeToString())
    return ["model.onnx"]


def _resize(context: Any, node: Any, name: str, args: Any) -> None:
    """Converts a resize with its sizes.

    tf2onnx gives factors, by which the runtime multiplies and rounds down: a pixel is lost where
    they aren't exact.
    """
    import tf2onnx

    del name, args
    batch, height, width, channels = context.get_shape(node.output[0])
    sizes = context.make_const(
        tf2onnx.utils.make_name("sizes"), np.array([batch, channels, height, width], np.int64)
    )
    first = context.make_node("Transpose", [node.input[0]], {"perm": _TO_CHANNELS_FIRST})
    resized = context.make_node(
        "Resize",
        [first.output[0], "", "", sizes.output[0]],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    )
    place = {"name": node.name, "outputs": node.output}
    kind = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    context.remove_node(node.name)
    context.make_node("Transpose", resized.output, {"perm": _TO_CHANNELS_LAST}, **place, **kind)
