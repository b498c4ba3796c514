"""Segments images with an export of `kmax export --format`, without kmax_tf and TensorFlow.

python client.py OUTPUT IMAGE...   writes OUTPUT/<image>.npz with every output.

This file lies beside the model. It needs NumPy, Pillow and the runtime, and does what no runtime
does inside its graph: it decodes, fits images to the model's input and brings maps back to their
size, in the very arithmetic of TensorFlow.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
from PIL import Image, ImageOps

Program = Callable[..., dict[str, np.ndarray]]  # arrays by name -> arrays by name
PADDING = 127.5  # beside the image: the middle of 0..255


def onnx(path: str) -> Program:
    """Loads a model into ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs)))


def openvino(path: str) -> Program:
    """Loads a model into OpenVINO, which on some CPUs computes in bfloat16 unless it is told."""
    import openvino as ov

    model = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda **inputs: {key.get_any_name(): value for key, value in model(inputs).items()}


def litert(path: str) -> Program:
    """Loads a model into LiteRT, once called TensorFlow Lite."""
    from ai_edge_litert.interpreter import Interpreter

    runner: Program = Interpreter(model_path=path).get_signature_runner()
    return runner


def stablehlo(path: str) -> Program:
    """Loads a program into JAX, which compiles it at the first call."""
    from jax import export

    program = export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    return lambda image: {name: np.asarray(v) for name, v in program.call(image).items()}


RUNTIMES = {"onnx": onnx, "openvino": openvino, "litert": litert, "stablehlo": stablehlo}


class Segmenter:
    """Segments one image after another.

    Attributes:
      about: what model.json says.
    """

    about: dict[str, Any]

    def __init__(self, folder: str | pathlib.Path):
        folder = pathlib.Path(folder)
        self.about = json.loads((folder / "model.json").read_text("utf-8"))
        load = RUNTIMES[self.about["format"]]
        # One program, or the network and then the merging of its masks.
        self._programs = [load(str(folder / name)) for name in self.about["files"]]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Segments an image [H, W, 3] uint8: maps are [H, W], tables [N]."""
        size = fitted_size(image.shape[:2], self.about)
        values = {"image": fit(image, size, self.about["size"])[np.newaxis]}
        for program in self._programs:
            values = program(**values)
        return {
            name: restore(value[0], size, image.shape[:2]) if value.ndim == 3 else value[0]
            for name, value in values.items()
        }


def read_image(path: str | pathlib.Path) -> np.ndarray:
    """Reads an image file of 8 bits a channel as [H, W, 3] uint8, upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def fitted_size(size: Sequence[int], about: dict[str, Any]) -> list[int]:
    """Returns height and width that an image of some height and width has in the input."""
    scaled: np.ndarray = np.asarray(size, np.float32)
    if about["min_size"]:
        scaled = np.floor(scaled * (np.float32(about["min_size"]) / scaled.min()))
    most = [min(about["max_size"] or side, side) for side in about["size"]]
    limits = np.asarray(most, np.float32)
    if (scaled > limits).any():
        scaled = np.floor(scaled * (limits / scaled).min())
    return [max(int(side), 1) for side in scaled]


def fit(image: np.ndarray, size: Sequence[int], input_size: Sequence[int]) -> np.ndarray:
    """Resizes [H, W, 3] bilinearly with aligned corners, and pads: [h, w, 3] float32."""
    low, high, part = corners(image.shape[1], size[1])
    x = image.astype(np.float32)
    x = x[:, low] + (x[:, high] - x[:, low]) * part[:, np.newaxis]
    low, high, part = corners(image.shape[0], size[0])
    x = x[low] + (x[high] - x[low]) * part[:, np.newaxis, np.newaxis]
    missing = [[0, whole - side] for whole, side in zip(input_size, size)]
    return np.pad(x, [*missing, [0, 0]], constant_values=PADDING)


def corners(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns for each of so many new pixels its two neighbours, and how far from the first."""
    scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
    place = np.arange(target, dtype=np.float32) * scale
    low = np.minimum(np.floor(place), source - 1)
    return low.astype(int), np.minimum(np.ceil(place), source - 1).astype(int), place - low


def restore(ids: np.ndarray, fitted: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Brings a map [h, w], of whose pixels so many are image, to a size: nearest neighbour."""
    rows, columns = (nearest(*sides) for sides in zip(fitted, size))
    return ids[rows[:, np.newaxis], columns]


def nearest(source: int, target: int) -> np.ndarray:
    """Returns the pixel that each of so many pixels is nearest to; halves go up."""
    scale = np.float32(source - 1) / np.float32(max(target - 1, 1))
    place = np.arange(target, dtype=np.float32) * scale
    below = np.floor(place)
    return np.minimum(below + (place - below >= 0.5), source - 1).astype(int)


def main(output: str, *images: str) -> None:
    """Segments the images one after another."""
    segment = Segmenter(pathlib.Path(__file__).parent)
    for path in images:
        target = pathlib.Path(output) / (pathlib.Path(path).stem + ".npz")
        np.savez_compressed(target, **segment(read_image(path)))
    print(f"images segmented with {segment.about['format']}, without kmax_tf: {len(images)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
