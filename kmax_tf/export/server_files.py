"""What servers read beside the versions of an export: written once, and the user's from then on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kmax_tf.files.writing import write_atomically

MODEL_NAME = "kmax"
# The signature that Triton serves, which knows one a model: the first of these that there is.
_OF_TRITON = ("compact", "serving_default", "image_bytes", "instances", "semantic")
_TRITON_TYPES = {
    tf.string: "TYPE_STRING",
    tf.uint8: "TYPE_UINT8",
    tf.int32: "TYPE_INT32",
    tf.float32: "TYPE_FP32",
}
_MODELS = f"""\
# tensorflow_model_server --model_config_file=...: where the server sees the folder of the versions.
model_config_list {{
  config {{
    name: "{MODEL_NAME}"
    base_path: "/models/{MODEL_NAME}"
    model_platform: "tensorflow"
  }}
}}
"""
_BATCHING = """\
# tensorflow_model_server --enable_batching --batching_parameters_file=...
# An export that was made on a GPU answers a batch in less time than its images one by one; on CPUs
# it computes one image after another, and batches only queue. Images of different sizes go
# together as image_bytes only.
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
"""


def write_server_files(output: str, functions: Mapping[str, Any]) -> None:
    """Writes models.config, batching_parameters.txt and config.pbtxt where they aren't there yet.

    Args:
      output: folder of the versions.
      functions: the signatures' `tf.function`s by name.

    Raises:
      OutputError: the folder cannot be written.
    """
    contents = {"models.config": _MODELS, "batching_parameters.txt": _BATCHING}
    served = next((name for name in _OF_TRITON if name in functions), None)
    if served is not None:
        contents["config.pbtxt"] = triton_config(served, functions[served])
    for name, content in contents.items():
        path = os.path.join(output, name)
        if not tf.io.gfile.exists(path):
            write_atomically(path, content)


def triton_config(signature: str, function: Any) -> str:
    """Returns the config.pbtxt of NVIDIA Triton's TensorFlow backend for a signature.

    Args:
      signature: its name; the first axis of all that it takes and gives is the batch.
      function: what it computes.
    """
    concrete = function.get_concrete_function()
    _, inputs = concrete.structured_input_signature
    if not inputs:
        inputs = {spec.name: spec for spec in concrete.structured_input_signature[0]}
    outputs = concrete.structured_outputs
    return f"""\
# NVIDIA Triton's TensorFlow backend; its model repository is the folder that this one is in.
platform: "tensorflow_savedmodel"
default_model_filename: "."  # a version's folder is the SavedModel
max_batch_size: 8
dynamic_batching {{ }}
parameters {{ key: "TF_SIGNATURE_DEF" value {{ string_value: "{signature}" }} }}
{_tensors("input", inputs)}{_tensors("output", outputs)}"""


def _tensors(kind: str, specs: Mapping[str, tf.TensorSpec]) -> str:
    """Lists inputs or outputs, without the axis of the batch."""
    lines = ""
    for name, spec in sorted(specs.items()):
        sides: Sequence[int] = [-1 if side is None else side for side in spec.shape[1:]]
        shape = f"dims: {list(sides)}" if sides else "dims: [1] reshape { shape: [] }"
        lines += f'{kind} {{ name: "{name}" data_type: {_TRITON_TYPES[spec.dtype]} {shape} }}\n'
    return lines
