"""One version of an export, loaded: its signatures, and what a person needs to know of it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from kmax_tf.errors import UserError
from kmax_tf.export.version_folder import LABELS_FILE, read_labels
from kmax_tf.files.writing import plain_path
from kmax_tf.serving.refusals import RefusedError

Arrays = Mapping[str, np.ndarray]

# What a signature says of inputs that it refuses.
_SAID = re.compile(r"assertion failed: \[(.*?)\](?= \[\[|\s*$)", re.MULTILINE)
_BAD_IMAGE = re.compile(r"image \d+ of image_bytes: ")
_ENCODED = "image_bytes"
# What TensorFlow Serving does before a version is available, too: first calls are slow.
_WARM_UP_SIZE = (48, 64)
_FIRST = ("compact", "with_thresholds")  # what most clients ask for, and the page


@dataclasses.dataclass(frozen=True)
class Signature:
    """One thing that can be asked of a model.

    Attributes:
      name: of it.
      inputs, outputs: `tf.TensorSpec` by name.
      function: of inputs by name.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    function: Callable[..., dict[str, tf.Tensor]]

    @property
    def takes_encoded(self) -> bool:
        """Returns whether images come as the bytes of their files."""
        return _ENCODED in self.inputs

    @property
    def pads(self) -> bool:
        """Returns whether images of a batch have maps of the largest one's size."""
        return self.takes_encoded and any(
            is_batched(spec) and spec.shape.rank == 3 and spec.shape[1] is None
            for spec in self.outputs.values()
        )


def is_batched(spec: tf.TensorSpec) -> bool:
    """Returns whether values are one of each image of a batch, or may be."""
    return spec.shape.rank is None or (spec.shape.rank > 0 and spec.shape[0] is None)


class ServedModel:
    """One version of an export.

    Attributes:
      version: its number.
      signatures: by name.
      labels: what is in assets.extra/labels.json.
      thresholds: those of the experiment, by the names of the inputs of `with_thresholds`.
    """

    def __init__(self, folder: pathlib.Path, version: int):
        """Loads a version.

        Raises:
          UserError: it is none of `kmax export`, or damaged.
        """
        self.version = version
        read_labels(folder)  # or it is no export
        self.labels = json.loads((folder / LABELS_FILE).read_text("utf-8"))
        try:
            # What holds the variables.
            self._model = tf.saved_model.load(plain_path(folder))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"cannot load the SavedModel {folder}: {reason}") from error
        self.signatures = {
            name: Signature(
                name,
                dict(function.structured_input_signature[1]),
                dict(function.structured_outputs),
                function,
            )
            for name, function in self._model.signatures.items()
        }
        self.thresholds = {}
        if "with_thresholds" in self.signatures:
            values = self.labels.get("thresholds", {})
            self.thresholds = {name: np.asarray(x, np.float32) for name, x in values.items()}

    def __call__(self, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
          signature: one of this model's.
          inputs: as its inputs say.

        Returns:
          Its outputs by name.

        Raises:
          RefusedError: it can't decode an image, or fails.
        """
        tensors = {
            name: tf.constant(inputs[name], spec.dtype) for name, spec in signature.inputs.items()
        }
        try:
            outputs = signature.function(**tensors)
            return {name: value.numpy() for name, value in outputs.items()}
        except tf.errors.InvalidArgumentError as error:
            said = _SAID.search(error.message)
            if said is None:
                raise
            sentence = said[1].replace("] [", " ")
            raise RefusedError(422 if _BAD_IMAGE.match(sentence) else 400, sentence) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RefusedError(503, "the model's memory is full; send fewer images") from error

    def signature(self, name: str) -> Signature:
        """Returns the signature of a name.

        Raises:
          RefusedError: there is none; names those that there are.
        """
        if name not in self.signatures:
            raise RefusedError(
                404,
                f"the model has no signature {name[:100]!r}; it has: "
                f"{', '.join(sorted(self.signatures))}",
            )
        return self.signatures[name]

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures as TensorFlow Serving tells them."""
        return {
            name: {
                "inputs": _tensor_infos(signature.inputs),
                "outputs": _tensor_infos(signature.outputs),
                "method_name": "tensorflow/serving/predict",
            }
            for name, signature in self.signatures.items()
        }

    def warm_up(self) -> Iterator[str]:
        """Calls what takes encoded images, once, as first calls are slow; yields their names."""
        noise = np.random.default_rng(0).integers(0, 256, (*_WARM_UP_SIZE, 3), np.uint8)
        encoded = np.array([tf.io.encode_jpeg(noise).numpy()], object)
        first = [name for name in _FIRST if name in self.signatures]
        for name in dict.fromkeys([*first, *self.signatures]):
            signature = self.signatures[name]
            if signature.takes_encoded:
                self(signature, {**self.thresholds, _ENCODED: encoded})
                yield name


def _tensor_infos(specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    """Returns type and shape of tensors, as the JSON of TensorFlow's protos has them."""
    told = {
        name: json_format.MessageToDict(
            spec.experimental_as_proto(), preserving_proto_field_name=True
        )
        for name, spec in specs.items()
    }
    return {
        name: {"dtype": proto["dtype"], "tensor_shape": proto.get("shape", {}), "name": name}
        for name, proto in told.items()
    }
