"""Exports of an experiment: size, loading, the first answer, and the graph's time.

One JSON line a case:
  constants: what `kmax export` writes.
  variables: the same with the weights as variables.
  network: the network alone, as `constants` has it, from the inputs to the logits.
  bfloat16, xla: `kmax export --precision bfloat16` and `--xla`.
`ratio` is the time of an image, pixels to maps, over that of `variables`, measured in turns in one
process. `load_s` and `first_s`, to load and to the end of the first answer, are of a process
of its own, over which TensorFlow's import isn't counted; `load_ratio` is over that of `variables`.
`operations` are those of the SavedModel's functions.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from measuring import (
    Run,
    finished,
    lines_of,
    parser_of,
    print_line,
    ratio,
    summary,
    time_in_turns,
)
from tensorflow.core.protobuf import saved_model_pb2

import kmax_tf
from kmax_tf.export.constants import with_constants
from kmax_tf.export.serving_model import SIGNATURES, ServingModel
from kmax_tf.inference import Inference

CASES = ("variables", "constants", "network", "bfloat16", "xla")


def main() -> None:
    """Measures and prints."""
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    height, width = args.size
    image = np.random.default_rng(0).integers(0, 255, (1, height, width, 3), np.uint8)
    if args.load:
        print_line(**load(args.load, image))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths, runs = export_cases(args, folder, tf.constant(image))
        loads = {name: lines_of([*sys.argv, f"--load={path}"])[-1] for name, path in paths.items()}
        seconds = time_in_turns(runs, args.repeats)
        for name in runs:
            of_load = loads.get(name, {})
            print_line(
                case=name,
                config=args.config,
                size=args.size,
                onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
                **summary(seconds[name]),
                ratio=ratio(seconds[name], seconds["variables"]),
                **of_load,
                **({"load_ratio": share(of_load, loads["variables"])} if of_load else {}),
            )


def share(of_load: dict[str, float], reference: dict[str, float]) -> float:
    """Returns the time to load over another."""
    return round(of_load["load_s"] / reference["load_s"], 3)


def export_cases(
    args: argparse.Namespace, folder: str, image: tf.Tensor
) -> tuple[dict[str, str], dict[str, Run]]:
    """Writes SavedModels; returns their folders and what is timed."""
    height, width = args.size
    sizes = [f"eval_data.{name}={max(args.size)}" for name in ("min_size", "max_size")]
    overrides = [f"eval_data.crop_size={height},{width}", *sizes, *args.set]
    experiment = kmax_tf.load_experiment(args.config, overrides)
    model = kmax_tf.build_model(experiment)
    plain = Inference(experiment, model)
    inferences = {
        "variables": lambda: plain,
        "constants": lambda: plain.rewritten(with_constants),
        "bfloat16": lambda: Inference(experiment, model, precision="mixed_bfloat16").rewritten(
            with_constants
        ),
        "xla": lambda: plain.rewritten(functools.partial(with_constants, xla=True)),
    }
    paths: dict[str, str] = {}
    runs: dict[str, Run] = {}
    for name in args.cases:
        if name == "network":
            network = plain.rewritten(with_constants)
            inputs = network.fit(image)[0]
            runs[name] = functools.partial(compute, tf.function(network.predict), inputs)
            continue
        serving = ServingModel(inferences[name](), experiment)
        paths[name] = os.path.join(folder, name)
        functions = {signature: serving.signature(signature) for signature in args.signatures}
        no_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(serving.module, paths[name], functions, no_gradients)
        served = tf.saved_model.load(paths[name]).signatures["serving_default"]
        runs[name] = functools.partial(compute, served, images=image)
    return paths, runs


def compute(function: Run, *inputs: tf.Tensor, **named: tf.Tensor) -> None:
    """Calls a function and waits for the result."""
    finished(function(*inputs, **named))


def load(path: str, image: np.ndarray) -> dict[str, float]:
    """Loads a SavedModel; returns how long that takes, and what it consists of."""
    start = time.perf_counter()
    served = tf.saved_model.load(path).signatures["serving_default"]
    load_seconds = time.perf_counter() - start
    finished(served(images=tf.constant(image)))
    first = time.perf_counter() - start
    files = [file for file in pathlib.Path(path).rglob("*") if file.is_file()]
    definition = saved_model_pb2.SavedModel.FromString(
        (pathlib.Path(path) / "saved_model.pb").read_bytes()
    )
    library = definition.meta_graphs[0].graph_def.library.function
    return {
        "load_s": round(load_seconds, 2),
        "first_s": round(first, 2),
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        "functions": len(library),
        "operations": sum(len(function.node_def) for function in library),
    }


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of(__doc__, config="coco/resnet50.textproto", threads=2, repeats=7)
    parser.add_argument("--size", type=int, nargs="+", default=[641], help="side, or height width")
    parser.add_argument(
        "--cases", nargs="+", default=CASES[:3], choices=CASES, help="beside variables"
    )
    parser.add_argument("--signatures", nargs="+", default=SIGNATURES, help="that are exported")
    parser.add_argument("--load", help="print what it takes to load this SavedModel only")
    args = parser.parse_args()
    args.size = args.size * 2 if len(args.size) == 1 else args.size
    args.cases = [name for name in CASES if name in {"variables", *args.cases}]
    return args


if __name__ == "__main__":
    main()
