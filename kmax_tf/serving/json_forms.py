"""The JSON of TensorFlow Serving: bodies of requests -> arrays, and arrays -> replies.

Of two forms. `instances` lists images, and `predictions` answers one each; `inputs` has a value a
name, and `outputs` answers so. Bytes are {"b64": "..."}.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from kmax_tf.serving.refusals import RefusedError
from kmax_tf.serving.served_model import Signature, is_batched

DEFAULT_SIGNATURE = "serving_default"
_FORMS = ("instances", "inputs")
_AXES = {1: "[B]", 4: "[B, H, W, 3]"}


@dataclasses.dataclass(frozen=True)
class Call:
    """What a request asks for.

    Attributes:
      signature: of the model.
      inputs: arrays by name; bytes are of dtype object.
      by_image: whether the answer is one value an image (`predictions`).
    """

    signature: Signature
    inputs: dict[str, np.ndarray]
    by_image: bool

    @property
    def images(self) -> int:
        """Returns how many images it has."""
        return max(len(value) for value in self.inputs.values() if value.ndim)


def parse(body: bytes, signature_of: Callable[[str], Signature]) -> Call:
    """Reads the body of a request.

    Args:
      body: JSON.
      signature_of: the signature of a name.

    Raises:
      RefusedError: says what is wrong with it, and where.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict) or sum(form in asked for form in _FORMS) != 1:
        raise RefusedError(
            400,
            'the body is to be one JSON object with either "instances", a list with an entry an '
            'image, or "inputs", a value for each input',
        )
    name = asked.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise RefusedError(400, "signature_name is to be a text")
    signature = signature_of(name or DEFAULT_SIGNATURE)
    by_image = "instances" in asked
    values = _columns(asked["instances"], signature) if by_image else asked["inputs"]
    if len(signature.inputs) == 1 and not (isinstance(values, dict) and "b64" not in values):
        values = dict.fromkeys(signature.inputs, values)
    if not isinstance(values, dict) or values.keys() != signature.inputs.keys():
        names = ", ".join(signature.inputs)
        raise RefusedError(400, f"{signature.name} takes these inputs, and no others: {names}")
    inputs = {key: _array(key, values[key], spec) for key, spec in signature.inputs.items()}
    images = max(len(value) for value in inputs.values() if value.ndim)
    for key, spec in signature.inputs.items():
        if spec.shape.rank is None and not inputs[key].ndim:  # one for all: one for each
            inputs[key] = np.full(images, inputs[key])
        if is_batched(spec) and len(inputs[key]) != images:
            raise RefusedError(400, f"{key} is not of {images} images, as others are")
    return Call(signature, inputs, by_image)


def _columns(instances: Any, signature: Signature) -> Any:
    """Makes a list of values for each input of a list of images."""
    alone = [name for name, spec in signature.inputs.items() if not is_batched(spec)]
    shared = [name for name, spec in signature.outputs.items() if not is_batched(spec)]
    if alone or shared:
        raise RefusedError(
            400,
            f"{(alone or shared)[0]} of {signature.name} is one value for all images: ask with "
            '"inputs" in place of "instances"',
        )
    if not isinstance(instances, list):
        raise RefusedError(400, '"instances" is to be a list with an entry an image')
    named = [isinstance(entry, dict) and "b64" not in entry for entry in instances]
    if not any(named) and len(signature.inputs) == 1:
        return instances
    if not all(named) or any(entry.keys() != signature.inputs.keys() for entry in instances):
        raise RefusedError(
            400,
            f"each of the instances is to be an object of {', '.join(signature.inputs)}, and "
            "nothing else",
        )
    return {name: [entry[name] for entry in instances] for name in signature.inputs}


def _array(name: str, value: Any, spec: Any) -> np.ndarray:
    """Makes an array of JSON's values as a signature takes it."""
    try:
        array = _texts(value) if spec.dtype.name == "string" else _numbers(value, spec)
    except RecursionError:  # of numpy, or ours
        raise RefusedError(400, f"{name} has too many axes") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(400, f"{name}: {error}") from None
    if not array.size:
        raise RefusedError(400, f"{name} has the shape {list(array.shape)}: no image")
    if not spec.shape.is_compatible_with(array.shape) or (array.ndim > (spec.shape.rank or 1)):
        axes = _AXES.get(spec.shape.rank, "of one number, or of one an image")
        raise RefusedError(400, f"{name} is to have the shape {axes}, not {list(array.shape)}")
    return array


def _texts(value: Any) -> np.ndarray:
    """Makes bytes of texts: as they are, or of {"b64": "..."}; one, or a list of them."""
    listed = [_bytes(entry) for entry in value] if isinstance(value, list) else None
    array = np.empty([] if listed is None else [len(listed)], object)
    array[...] = _bytes(value) if listed is None else listed
    return array


def _bytes(entry: Any) -> bytes:
    if isinstance(entry, str):
        return entry.encode()
    if not isinstance(entry, dict) or not isinstance(entry.get("b64"), str) or len(entry) > 1:
        raise ValueError('an image is to be {"b64": "..."}, its file in base64')
    try:
        return base64.b64decode(entry["b64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"b64 is not base64: {error}") from None


def _numbers(value: Any, spec: Any) -> np.ndarray:
    kind = np.dtype(spec.dtype.as_numpy_dtype)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("lists inside are not all of the same length") from None
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"is to be numbers of the type {kind}, and nothing else")
    if kind.kind in "iu" and array.size:
        bounds = np.iinfo(kind)
        if array.dtype.kind == "f" or array.min() < bounds.min or array.max() > bounds.max:
            raise ValueError(f"is to be whole numbers from {bounds.min} to {bounds.max}")
    return array.astype(kind)


def format_reply(call: Call, outputs: Mapping[str, np.ndarray]) -> bytes:
    """Writes the answer to a request."""
    columns = {name: _as_json(name, value) for name, value in outputs.items()}
    if not call.by_image:
        only = len(columns) == 1
        answer: Any = {"outputs": next(iter(columns.values())) if only else columns}
    else:
        rows = list(_rows(columns, call.images))
        answer = {"predictions": rows}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(columns: Mapping[str, Any], count: int) -> Iterator[Any]:
    for index in range(count):
        row = {name: values[index] for name, values in columns.items()}
        yield row if len(row) > 1 else next(iter(row.values()))


def _as_json(name: str, value: np.ndarray) -> Any:
    """Returns what orjson writes: numbers as they are; bytes as base64 where the name says so."""
    if value.dtype != object:
        return np.ascontiguousarray(value) if value.ndim else value.item()
    if name.endswith("_bytes"):
        return _nested(value, lambda data: {"b64": base64.b64encode(data).decode("ascii")})
    return _nested(value, lambda data: data.decode("utf-8", "replace"))


def _nested(value: Any, convert: Callable[[bytes], Any]) -> Any:
    if isinstance(value, np.ndarray):
        return [_nested(entry, convert) for entry in value] if value.ndim else convert(value.item())
    return convert(value)
