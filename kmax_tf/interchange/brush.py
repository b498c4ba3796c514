"""Label Studio's run lengths of brushes: rle-pack's code of the four channels of a picture.

The picture's alpha is the mask; all four channels of a pixel have its value, as Label Studio's own
library writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CHANNELS = 4
_VALUE_BITS = 8
_INSIDE = 255
# A run's length is written in as few bits as one of these that holds it.
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTH_BITS[-1]


def encode_brush(mask: np.ndarray) -> list[int]:
    """Returns the bytes of a mask [H, W] bool."""
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    lengths = np.diff(ends, prepend=-1) * _CHANNELS
    parts = [f"{flat.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}"]
    parts += [f"{bits - 1:04b}" for bits in _LENGTH_BITS]
    for length, value in zip(lengths.tolist(), flat[ends].tolist()):
        parts += _run(length, _INSIDE if value else 0)
    bits = "".join(parts)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def decode_brush(code: Sequence[int], height: int, width: int) -> np.ndarray:
    """Returns the mask [H, W] bool of a code.

    Raises:
      ValueError: it isn't a code, or of a picture of another size.
    """
    try:
        bits = "".join(f"{byte:08b}" for byte in bytes(code))
        values = _decoded(bits, height * width * _CHANNELS)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"its run lengths can't be read ({error})") from error
    return values.reshape(height, width, _CHANNELS)[..., -1] > 0


def _run(length: int, value: int) -> list[str]:
    runs = []
    while length:
        now = min(length, _LONGEST)
        kind = next(k for k, bits in enumerate(_LENGTH_BITS) if now <= 1 << bits)
        runs.append(f"1{kind:02b}{now - 1:0{_LENGTH_BITS[kind]}b}{value:08b}")
        length -= now
    return runs


def _decoded(bits: str, size: int) -> np.ndarray:
    place = 0

    def read(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise ValueError("they end too early")
        place += count
        return int(bits[place - count : place], 2)

    stated, value_bits = read(32), read(5) + 1
    if stated != size:
        raise ValueError(f"they are of {stated} values, not {size}")
    length_bits = [read(4) + 1 for _ in range(4)]
    values = np.zeros(size, np.int64)
    done = 0
    while done < size:
        same = read(1)
        end = min(done + 1 + read(length_bits[read(2)]), size)
        if same:
            values[done:end] = read(value_bits)
        else:
            values[done:end] = [read(value_bits) for _ in range(end - done)]
        done = end
    return values
