"""Writing files that torch.load reads, without PyTorch, and safetensors."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
import safetensors.numpy

from kmax_tf.errors import OutputError
from kmax_tf.files.writing import write_atomically

_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def write_state(state: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes arrays by name; the same arrays give the same bytes.

    Args:
      state: the arrays.
      path: ends in .safetensors, or in anything else for the format of torch.save.

    Raises:
      OutputError: the file cannot be written, or an array has a type that tensors don't have.
    """
    path = os.fspath(path)
    wrong = [name for name, value in state.items() if value.dtype.name not in _STORAGES]
    if wrong:
        raise OutputError(f"cannot write {path}: {wrong[0]} is of type {state[wrong[0]].dtype}")
    arrays = {
        name: np.ascontiguousarray(value).reshape(value.shape) for name, value in state.items()
    }
    safe = path.endswith(".safetensors")
    write_atomically(path, safetensors.numpy.save(arrays) if safe else _torch(arrays))


def _torch(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns an archive of a pickle and one file a storage, none of them compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)  # dated 1980

        add("data.pkl", _pickled(arrays))
        add("byteorder", b"little")
        for index, value in enumerate(arrays.values()):
            add(f"data/{index}", value.tobytes())
        add("version", b"3\n")
    return buffer.getvalue()


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the program that makes an OrderedDict of tensors, in pickle's protocol 2."""
    out = io.BytesIO()
    out.write(b"\x80\x02")
    out.write(b"ccollections\nOrderedDict\n)R(")  # an empty one, then its items
    for index, (name, value) in enumerate(arrays.items()):
        out.write(_text(name))
        out.write(b"ctorch._utils\n_rebuild_tensor_v2\n(")
        out.write(b"(" + _text("storage"))
        out.write(f"ctorch\n{_STORAGES[value.dtype.name]}\n".encode())
        out.write(_text(str(index)) + _text("cpu") + _number(value.size) + b"tQ")
        strides = [step // value.itemsize for step in value.strides]
        out.write(_number(0) + _numbers(value.shape) + _numbers(strides))
        out.write(b"\x89ccollections\nOrderedDict\n)RtR")  # no gradient, no hooks
    out.write(b"u.")
    return out.getvalue()


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    if number < 2**31:
        return b"J" + struct.pack("<i", number)
    data = pickle.encode_long(number)
    return b"\x8a" + struct.pack("<B", len(data)) + data


def _numbers(numbers: Iterable[int]) -> bytes:
    return b"(" + b"".join(_number(int(number)) for number in numbers) + b"t"
