"""Requests that TensorFlow Serving answers before it serves a version: nobody waits for the first.

They are records of its message PredictionLog. Of that, four fields are needed: so they are written
here, not by tensorflow-serving-api, which would come with all of gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")

# (signature, {input: value})
Request = tuple[str, Mapping[str, np.ndarray]]


def write_warmup(export: str, model: str, requests: Iterable[Request]) -> None:
    """Writes requests into a version's folder.

    Args:
      export: folder of the version.
      model: name that it is served under.
      requests: at most 1000, which is what TensorFlow Serving takes.
    """
    with tf.io.TFRecordWriter(os.path.join(export, WARMUP_FILE)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(model, signature, inputs))


def _prediction_log(model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Returns PredictionLog(predict_log=PredictLog(request=PredictRequest(...)))."""
    model_spec = _field(1, model.encode()) + _field(3, signature.encode())  # name, signature_name
    request = _field(1, model_spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # an entry of the map
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """Returns a field of a message: its number and kind, its length in bytes, its content."""
    length, sizes = len(content), []
    while length >= 128:
        sizes.append(length % 128 + 128)
        length //= 128
    return bytes([number << 3 | 2, *sizes, length]) + content
