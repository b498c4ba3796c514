"""Reading PyTorch checkpoint files without PyTorch, and without running what they contain.

A pickle is a program. Here it may build containers and tensors and nothing else: every name that it
asks for is looked up in a short list of harmless stand-ins, and any other is an error.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, NoReturn, Optional

import numpy as np
import safetensors
import tensorflow as tf

from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.wording import count_of

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NESTED = ("model", "state_dict", "model_state", "model_state_dict", "model_ema")
_BFLOAT16 = np.dtype(tf.bfloat16.as_numpy_dtype)
# (torch.save's storage, safetensors' type, NumPy's)
_TYPES: list[tuple[str, str, np.dtype]] = [
    ("FloatStorage", "F32", np.dtype("<f4")),
    ("DoubleStorage", "F64", np.dtype("<f8")),
    ("HalfStorage", "F16", np.dtype("<f2")),
    ("BFloat16Storage", "BF16", _BFLOAT16),
    ("LongStorage", "I64", np.dtype("<i8")),
    ("IntStorage", "I32", np.dtype("<i4")),
    ("ShortStorage", "I16", np.dtype("<i2")),
    ("CharStorage", "I8", np.dtype("|i1")),
    ("ByteStorage", "U8", np.dtype("|u1")),
    ("BoolStorage", "BOOL", np.dtype("|b1")),
]
_STORAGES = {storage: dtype for storage, _, dtype in _TYPES}
_SAFETENSORS = {name: dtype for _, name, dtype in _TYPES}


class _StorageType(NamedTuple):
    """Stand-in for a class such as torch.FloatStorage."""

    dtype: np.dtype


class _Storage(NamedTuple):
    """A run of values that tensors are views of."""

    dtype: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage, as the pickle describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint by name.

    Args:
      path: a file of torch.save (either format), a .pkl of NumPy arrays as detectron2 has them, or
        a .safetensors file. The state may be nested under a key such as "model".

    Returns:
      The arrays; bfloat16 as float32. A prefix "module." is taken off the names.

    Raises:
      CheckpointError: the file is damaged, of another format, or asks for more than tensors.
    """
    path = os.fspath(path)
    try:
        if path.lower().endswith(".safetensors"):
            state = _read_safetensors(path)
        elif zipfile.is_zipfile(path):
            state = _read_zip(path)
        else:
            state = _read_stream(path)
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except MemoryError:
        raise CheckpointError(
            f"cannot read {path}: it asks for more memory than there is"
        ) from None
    except Exception as error:  # whatever a damaged file makes the parsers say
        what = str(error) or type(error).__name__
        raise CheckpointError(
            f"cannot read {path}: damaged, or not a PyTorch checkpoint ({what})"
        ) from error
    if not state:
        raise CheckpointError(f"cannot read {path}: it holds no tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        entries = safetensors.deserialize(file.read())  # type: ignore[no-untyped-call]
    return {
        name: _values(bytes(entry["data"]), _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries
    }


def _read_zip(path: str) -> dict[str, np.ndarray]:
    """Reads what torch.save writes since version 1.6: a pickle and one file a storage."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(pickles) != 1:
            _fail("the archive has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        size = os.path.getsize(path)

        def read(name: str, expected: Optional[int] = None) -> bytes:
            info = archive.getinfo(name)
            # torch.save stores without compression: more than the file is a bomb.
            if info.file_size > size or (expected is not None and info.file_size < expected):
                _fail(f"{name} has {count_of(info.file_size, 'byte')}")
            return archive.read(info)

        content = _unpickle(io.BytesIO(read(pickles[0])))

        def storage(item: _Storage) -> np.ndarray:
            data = read(f"{root}data/{item.key}", item.length * item.dtype.itemsize)
            return _values(data, item.dtype)

        return _arrays(content, storage)


def _read_stream(path: str) -> dict[str, np.ndarray]:
    """Reads a lone pickle of arrays, or what torch.save wrote before version 1.6."""
    with open(path, "rb") as file:
        first = _unpickle(file)
        if first != _LEGACY_MAGIC:
            return _arrays(first, lambda item: _fail("a storage without data"))
        _unpickle(file)  # version of the protocol
        _unpickle(file)  # sizes of the machine's types
        unpickler = _Unpickler(file)
        content = unpickler.load()
        keys = _unpickle(file)
        loaded: dict[str, np.ndarray] = {}
        for key in keys if isinstance(keys, list) else _fail("no list of storages"):
            (count,) = struct.unpack("<q", file.read(8))
            dtype = (unpickler.storages.get(key) or _fail(f"an unused storage {key!r}")).dtype
            left = os.fstat(file.fileno()).st_size - file.tell()
            if not 0 <= count * dtype.itemsize <= left:
                _fail(f"a storage of {count_of(count, 'value')} is longer than the file")
            loaded[key] = _values(file.read(count * dtype.itemsize), dtype)
        return _arrays(content, lambda item: loaded[item.key])


def _values(data: bytes, dtype: np.dtype) -> np.ndarray:
    values = np.frombuffer(data, dtype)
    return values.astype(np.float32) if dtype == _BFLOAT16 else values


def _tensors(content: Any) -> Mapping[str, Any]:
    """Returns the mapping, nested or not, that has the tensors."""
    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[key] for key in _NESTED if isinstance(content.get(key), dict)]
    found = [
        {
            name: value
            for name, value in candidate.items()
            if isinstance(name, str) and isinstance(value, (_Tensor, _Array))
        }
        for candidate in candidates
        if isinstance(candidate, dict)
    ]
    return max(found, key=len) if found else _fail("it holds no mapping of names to tensors")


def _arrays(content: Any, storage: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """Makes arrays of the tensors; each storage is read once."""
    values: dict[str, np.ndarray] = {}
    state = {}
    for name, item in _tensors(content).items():
        if isinstance(item, _Tensor):
            key = item.storage.key
            if key not in values:
                values[key] = storage(item.storage)
            state[name] = _view(name, item, values[key])
        elif item.values is None:
            _fail(f"{name} is an array without values")
        else:
            state[name] = np.array(item.values)
    return state


def _view(name: str, tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """Returns the values of a tensor, after checking that they lie in its storage."""
    shape, strides = tensor.shape, tensor.strides
    numbers = (tensor.offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        _fail(f"{name} has the shape {shape} and the strides {strides}")
    last = tensor.offset + sum((side - 1) * step for side, step in zip(shape, strides))
    empty = 0 in shape
    if not empty and last >= len(values):
        _fail(f"{name} reaches beyond its storage of {count_of(len(values), 'value')}")
    if empty:
        return np.zeros(shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :], shape, [step * values.itemsize for step in strides]
    )
    return np.array(view)


def _unpickle(file: io.BufferedIOBase | io.BytesIO) -> Any:
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """Builds containers, arrays and descriptions of tensors, and refuses all else.

    Attributes:
      storages: by key, those that tensors are views of.
    """

    def __init__(self, file: io.BufferedIOBase | io.BytesIO):
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of a name.

        Raises:
          CheckpointError: the name is none that tensors need.
        """
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            _fail(
                f"it asks for {module}.{name}, which tensors don't need, and is not run: a pickle "
                "can hold any program. Save the bare state (names and tensors) and import that"
            )
        return allowed

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a tensor is a view of."""
        if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage":
            _, kind, key, _, count = pid[:5]
            if isinstance(kind, _StorageType) and isinstance(count, int) and count >= 0:
                storage = _Storage(kind.dtype, str(key), count)
                return self.storages.setdefault(storage.key, storage)
        _fail("it has a reference that is no storage")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        _fail("a tensor without storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> _Tensor:
    return data if isinstance(data, _Tensor) else _fail("a parameter without tensor")


class _Dtype:
    """What a pickled NumPy type becomes: its name and the order of its bytes."""

    def __init__(self, name: Any, *_: Any):
        self.name = str(name)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def resolve(self) -> np.dtype:
        """Returns the type.

        Raises:
          CheckpointError: it is not one of plain numbers.
        """
        if not re.fullmatch(r"[fiub][1248]", self.name):
            _fail(f"an array of the type {self.name}")
        return np.dtype(f"{self.order if self.order in '<>' else '='}{self.name}")


class _Array:
    """What a pickled NumPy array becomes."""

    def __init__(self, *_: Any):
        self.values: Optional[np.ndarray] = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        values = np.frombuffer(_bytes(data), dtype.resolve())
        self.values = values.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, data: Any) -> Any:
    return np.frombuffer(_bytes(data), dtype.resolve())[0]


def _bytes(data: Any = b"", *_: Any) -> bytes:
    """Returns bytes, which old protocols hold as text."""
    return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))


def _fail(text: str) -> NoReturn:
    raise CheckpointError(text)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("numpy", "ndarray"): "ndarray",  # named, never called
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _bytes,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))
    },
}
