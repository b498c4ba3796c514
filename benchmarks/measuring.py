"""What the benchmarks share: options, timing in turns, peak memory, the matrix-product peak."""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

Run = Callable[[], Any]

# What options that several scripts have stand for.
_OPTIONS = {
    "config": "experiment file",
    "size": "side of the images, or height and width",
    "batch": "images of a step",
    "segments": "of an image",
    "threads": "of an operation",
    "repeats": "of each case",
    "precision": "float32, mixed_bfloat16 or mixed_float16",
}


def parser_of(script: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Returns a parser of options that several scripts have, those that get a default.

    Args:
      script: its docstring, whose first line describes it.
      **defaults: by name; a tuple stands for as many numbers. With `config` goes `--set`.
    """
    parser = argparse.ArgumentParser(description=(script or "").splitlines()[0])
    for name, default in defaults.items():
        several = isinstance(default, tuple)
        parser.add_argument(
            f"--{name}",
            default=default,
            type=type(default[0] if several else default),
            nargs=len(default) if several else None,
            help=_OPTIONS[name],
        )
    if "config" in defaults:
        parser.add_argument("--set", action="append", default=[], help="override of the experiment")
    return parser


def time_in_turns(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Times functions one after another, round after round, so that load falls on all alike.

    Args:
      runs: functions by name; each must have finished its work when it returns.
      repeats: rounds, after one that isn't timed.

    Returns:
      Seconds of each call by name.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Returns median and quartiles in milliseconds."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {
        "median_ms": round(1e3 * median, 2),
        "quartiles_ms": [round(1e3 * low, 2), round(1e3 * high, 2)],
        "best_ms": round(1e3 * min(seconds), 2),
    }


def ratio(seconds: list[float], reference: list[float]) -> float:
    """Returns the median of the ratios of calls that were made in turns."""
    return round(statistics.median(a / b for a, b in zip(seconds, reference)), 3)


def finished(outputs: Any) -> Any:
    """Returns outputs after their computation: fetching a value waits for accelerators."""
    for tensor in tf.nest.flatten(outputs):
        tf.reshape(tensor, [-1])[:1].numpy()
    return outputs


def peak_memory(run: Run) -> Optional[float]:
    """Returns by how many megabytes a call raises the process' memory at most; None if unknown.

    Known on Linux, whose kernel forgets the earlier peak when asked to. TensorFlow keeps what it
    once took, so this tells something of the first call in a process only.
    """
    status, reset = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    gc.collect()
    try:
        reset.write_text("5")
    except OSError:
        return None
    before = _kilobytes(status, "VmRSS")
    run()
    return round((_kilobytes(status, "VmHWM") - before) / 1024, 1)


def peak_memory_in_a_process(case: str, *options: str) -> Optional[float]:
    """Runs this script again, in a process of its own, that prints the peak memory of one case."""
    return lines_of([*sys.argv, f"--memory-of={case}", *options])[-1]["peak_memory_mb"]


def lines_of(command: Sequence[str], **variables: str) -> list[dict[str, Any]]:
    """Returns what a script prints in a process of its own, with some environment variables."""
    done = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _kilobytes(status: pathlib.Path, key: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1])


def product_peak(size: int = 2048, dtype: tf.DType = tf.float32) -> Run:
    """Returns a product of two matrices of size x size: size ** 3 multiply-adds."""
    generator = tf.random.Generator.from_seed(0)
    left, right = (tf.cast(generator.normal([size, size]), dtype) for _ in range(2))
    product = tf.function(lambda: tf.matmul(left, right))
    return lambda: finished(product())


def print_line(**values: Any) -> None:
    """Prints one JSON line."""
    print(json.dumps(values), flush=True)
