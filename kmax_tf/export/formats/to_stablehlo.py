"""StableHLO in the serialization of `jax.export`: what runs through JAX, without TensorFlow."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any, Callable
from unittest import mock

from absl import logging

from kmax_tf.export.formats.program import Program


def write(program: Program, folder: str) -> list[str]:
    """Writes the program; returns the file to load."""
    import jax
    from jax import export
    from jax.experimental import jax2tf

    function = jax.jit(jax2tf.call_tf(program.segment, has_side_effects=False))
    image = jax.ShapeDtypeStruct((1, *program.size, 3), "float32")
    with _naming_platforms(type(program.segment)), _without_warnings():
        exported = export.export(function)(image)
    pathlib.Path(folder, "model.stablehlo").write_bytes(exported.serialize())
    return ["model.stablehlo"]


@contextlib.contextmanager
def _naming_platforms(functions: Any) -> Iterator[None]:
    """Lets JAX ask functions of TensorFlow for a program: it names the platform, 2.15 the device.

    Args:
      functions: the class of those that tf.function makes.
    """
    name = "experimental_get_compiler_ir"
    original = getattr(functions, name)

    def compiler_ir(function: Any, *args: Any, **options: Any) -> Callable[..., Any]:
        generate = original(function, *args, **options)
        if "platform_name" in inspect.signature(generate).parameters:
            return generate
        return lambda stage, platform_name: generate(stage, f"/device:{platform_name}:0")

    with mock.patch.object(functions, name, compiler_ir):
        yield


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences JAX, which lists all weights in a warning that they become constants."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
