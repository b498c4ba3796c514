"""The formats that a model can be exported to, beside the SavedModel."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from typing import Any

from kmax_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
      module: of this package, whose `write(program, folder)` returns the files to load.
      needs: what it imports, which comes with the extra of the format's name.
    """

    module: str
    needs: tuple[str, ...]


# By the name that is the extra's as well: `pip install kmax-tf[onnx]`.
FORMATS = {
    "onnx": Format("to_onnx", ("tf2onnx", "onnxruntime")),
    "openvino": Format("to_openvino", ("openvino",)),
    "litert": Format("to_litert", ("ai_edge_litert",)),
    "stablehlo": Format("to_stablehlo", ("jax",)),
}


def writer_of(name: str) -> Any:
    """Returns the module that writes a format.

    Raises:
      UserError: what it needs isn't installed.
    """
    chosen = FORMATS[name]
    missing = [module for module in chosen.needs if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}, which is not installed: "
            f"pip install 'kmax-tf[{name}]'"
        )
    return importlib.import_module(f"kmax_tf.export.formats.{chosen.module}")
