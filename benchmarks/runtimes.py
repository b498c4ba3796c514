"""Every runtime that a trained model can be exported to, against TensorFlow.

One JSON line a cell: a runtime at a precision and a size. The model is exported by `kmax export`
and run by the export's own client, in a process of its own that has no TensorFlow, on the images of
the run's evaluation records: first all images (--stage compare), then, on a quiet machine, a few of
them for the times (--stage time). With --table the lines become the table of
docs/guides/runtimes.md.

  agreement: images whose panoptic ids all equal TensorFlow's; the largest difference of any score.
  pq: panoptic quality on these images.
  latency: median of a call with its fitting and restoring, images decoded; load: until the first.
  memory: the most that the process ever had, with Python, NumPy and the runtime.
  tier: "tested": a test compares it; "works": this script found it to; "unsupported", and by what.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLIENT = ROOT / "kmax_tf" / "export" / "formats" / "client.py"
WHOLE = "fitted image to maps and tables"
# Runtime, precision, options of `kmax export`, what is in the graph.
CELLS = [
    ("savedmodel", "float32", [], "decoding, fitting, network, merging, maps of the image's size"),
    ("onnx", "float32", [], WHOLE),
    ("openvino", "float32", [], WHOLE),
    ("litert", "float32", [], WHOLE),
    ("litert", "int8 products", ["--calibration=records"], f"{WHOLE}, in two files"),
    ("stablehlo", "float32", [], WHOLE),
]
# The SavedModel's own graph, of images of any size, as converters take it.
ANY_SIZE = ["onnx", "openvino", "litert", "stablehlo"]
# What names the operation that stops a conversion.
NAMED = r"error: '|not implemented|not supported|are unsupported|Unsupported|must be a compile-time"
START, END = "<!-- benchmarks/runtimes.py -->\n", "<!-- end -->\n"


def main() -> None:
    """Measures every cell, prints it, and writes the table."""
    args = arguments()
    if args.measure:
        runtime, export, images, outputs, count = args.measure
        print(json.dumps(measure(runtime, export, images, outputs, int(count))))
        return
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "lines.json"
    lines = json.loads(kept.read_text()) if kept.exists() else {}
    if args.stage == "compare":
        for key, line in compared(args, work, lines):
            lines[key] = line
            kept.write_text(json.dumps(lines))
            print(json.dumps(line), flush=True)
    else:
        lines = {key: timed(args, work, line) for key, line in lines.items()}
    if args.table:
        path = pathlib.Path(args.table)
        before, _, rest = path.read_text("utf-8").partition(START)
        after = rest.partition(END)[2]
        text = before + START + table(list(lines.values())) + END + after
        path.write_text(text, "utf-8")


def compared(
    args: argparse.Namespace, work: pathlib.Path, known: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Exports the model to every cell that isn't known; yields how it agrees with TensorFlow."""
    every, truth = read_examples(args)
    np.savez(work / "images.npz", *every)
    for size in args.size:
        images = every if size == args.size[0] else every[:20]
        for runtime, precision, options, inside in CELLS:
            key = f"{runtime}-{precision.replace(' ', '-')}-{size}"
            if key in known:
                continue
            line = {"runtime": runtime, "precision": precision, "size": size, "batch": 1}
            done = export(args, runtime, size, work / key, options)
            if done is not None and done.returncode:
                yield key, {**line, "tier": "unsupported", "why": last_of(done.stderr)}
                continue
            line = {**line, "export": str(work / key / "1"), "inside": inside, "tier": "tested"}
            outputs = work / f"{key}.npz"
            measured = measure_apart(args, work, line, outputs, len(images))
            found, reference = (
                dict(np.load(path)) for path in (outputs, work / f"savedmodel-float32-{size}.npz")
            )
            agreeing = agreement(found, reference, len(images))
            pq = quality(args, found, truth[: len(images)])
            yield key, {**line, **agreeing, "pq": pq, **measured}
    for runtime in ANY_SIZE:
        if f"{runtime}-any" not in known:
            savedmodel = work / f"savedmodel-float32-{args.size[0]}" / "1"
            yield f"{runtime}-any", any_size(args, runtime, savedmodel)


def export(
    args: argparse.Namespace, runtime: str, size: int, folder: pathlib.Path, options: list[str]
) -> subprocess.CompletedProcess[str] | None:
    """Exports the model, unless it is there."""
    if (folder / "1").exists():
        return None
    changes = [*args.set, f"eval_data.crop_size={size},{size}"]
    changes += [f"eval_data.{side}_size={size}" for side in ("min", "max")]
    sets = [f"--set={change}" for change in changes]
    words = ["export", "--checkpoint", args.run, "--output", folder, *options, *sets]
    words += [f"--format={runtime}"]
    return run(python_of(args, runtime), "-m", "kmax_tf.cli.main", *words)


def timed(args: argparse.Namespace, work: pathlib.Path, line: dict[str, Any]) -> dict[str, Any]:
    """Measures a cell that was compared before once more, with a few images."""
    if "export" not in line:
        return line
    return {**line, **measure_apart(args, work, line, work / "outputs.npz", 5)}


def measure_apart(
    args: argparse.Namespace,
    work: pathlib.Path,
    line: dict[str, Any],
    outputs: pathlib.Path,
    count: int,
) -> dict[str, Any]:
    """Measures a cell in a process of its own."""
    words = [line["runtime"], line["export"], work / "images.npz", outputs, count]
    done = run(python_of(args, line["runtime"]), __file__, "--measure", *words)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(runtime: str, export: str, images: str, outputs: str, count: int) -> dict[str, Any]:
    """Runs a client over so many images; returns its times and the most memory that it had."""
    specification = importlib.util.spec_from_file_location("client", CLIENT)
    client = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(client)
    start = time.perf_counter()
    segment = tensorflow_client(export) if runtime == "savedmodel" else client.Segmenter(export)
    with np.load(images) as arrays:
        pictures = list(arrays.values())[:count]
    segment(pictures[0])
    load = time.perf_counter() - start
    found, seconds = {}, []
    for number, picture in enumerate(pictures):
        start = time.perf_counter()
        values = segment(picture)
        seconds.append(time.perf_counter() - start)
        found.update({f"{number}/{name}": value for name, value in values.items()})
    np.savez(outputs, **found)
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM:")).split()[1]
    files = [path for path in pathlib.Path(export).rglob("*") if path.is_file()]
    return {
        "latency_ms": round(1e3 * statistics.median(seconds), 1),
        "load_s": round(load, 1),
        "memory_mb": int(peak) // 1024,
        "file_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
    }


def tensorflow_client(export: str) -> Any:
    """Loads the SavedModel: what all others are compared with."""
    import tensorflow as tf

    serve = tf.saved_model.load(export).signatures["serving_default"]

    def segment(image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = serve(images=tf.constant(image[np.newaxis]))
        return {name: value[0].numpy() for name, value in outputs.items()}

    return segment


def any_size(args: argparse.Namespace, runtime: str, export: pathlib.Path) -> dict[str, Any]:
    """Tries to convert the SavedModel's signature as it is."""
    programs = {
        "onnx": "import tf2onnx.convert as c, sys; sys.argv[1:] = ['--saved-model', {export!r},"
        " '--signature_def', 'serving_default', '--output', '/dev/null']; c.main()",
        "openvino": "import openvino as ov; ov.convert_model({export!r})",
        "litert": "import tensorflow as tf; c = tf.lite.TFLiteConverter;"
        " c.from_saved_model({export!r}, ['serving_default']).convert()",
        "stablehlo": "import jax, tensorflow as tf; from jax.experimental import jax2tf;"
        " f = tf.saved_model.load({export!r}).signatures['serving_default'];"
        " g = jax.jit(jax2tf.call_tf(lambda x: f(images=x), has_side_effects=False));"
        " jax.export.export(g)(jax.ShapeDtypeStruct((1, 97, 97, 3), 'uint8'))",
    }
    done = run(python_of(args, runtime), "-c", programs[runtime].format(export=str(export)))
    line = {"runtime": runtime, "precision": "float32", "size": "any", "batch": "any"}
    line["inside"] = "fitting, network, merging, maps of the image's size"
    if done.returncode == 0:
        return {**line, "tier": "works"}
    return {**line, "tier": "unsupported", "why": last_of(done.stderr)}


def read_examples(args: argparse.Namespace) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns images [H, W, 3] and panoptic maps [H, W] of the run's evaluation records."""
    import tensorflow as tf

    from kmax_tf.data.builder import check_records
    from kmax_tf.records.examples import decode_example

    records = tf.data.TFRecordDataset(check_records(experiment_of(args), training=False))
    examples = [decode_example(record) for record in records.take(args.images)]
    return [x["image"].numpy() for x in examples], [x["panoptic"].numpy() for x in examples]


def experiment_of(args: argparse.Namespace) -> Any:
    """Returns the experiment of the run."""
    from kmax_tf.config import load_experiment

    return load_experiment(pathlib.Path(args.run, "experiment.textproto"), args.set)


def agreement(
    found: dict[str, np.ndarray], reference: dict[str, np.ndarray], images: int
) -> dict[str, Any]:
    """Compares all outputs of all images with TensorFlow's."""
    scores = [name for name, value in reference.items() if value.dtype == np.float32]
    same = [
        np.array_equal(found[f"{number}/panoptic"], reference[f"{number}/panoptic"])
        for number in range(images)
    ]
    worst = max(float(np.abs(found[name] - reference[name]).max()) for name in scores)
    return {"images": images, "same_ids": sum(same), "worst_score": float(f"{worst:.1e}")}


def quality(
    args: argparse.Namespace, found: dict[str, np.ndarray], truth: list[np.ndarray]
) -> float:
    """Returns the panoptic quality, in percent."""
    from kmax_tf.config import label_space
    from kmax_tf.evaluation.panoptic_quality import PanopticQuality

    metric = PanopticQuality(label_space(experiment_of(args).dataset))
    for number, ids in enumerate(truth):
        metric.update(ids, found[f"{number}/panoptic"])
    result = metric.result()
    return round(100 * result.average(result.pq)["all"], 2)


def table(lines: list[dict[str, Any]]) -> str:
    """Formats lines as a table in Markdown."""
    head = (
        "| runtime | precision | size | batch | in the graph | same ids | worst score | PQ "
        "| latency | load | memory | tier |\n|" + "---|" * 12 + "\n"
    )
    rows = []
    for line in lines:
        told = [line[key] for key in ("runtime", "precision", "size", "batch")]
        told.append(line.get("inside", ""))
        if "latency_ms" in line:
            told += [f"{line['same_ids']} of {line['images']}", f"{line['worst_score']:g}"]
            told += [line["pq"], f"{line['latency_ms']} ms", f"{line['load_s']} s"]
            told += [f"{line['memory_mb']} MB", line["tier"]]
        else:
            why = f": {line['why']}" if "why" in line else ""
            told += ["", "", "", "", "", "", line["tier"] + why]
        rows.append("| " + " | ".join(str(value).replace("\n", " ") for value in told) + " |\n")
    return head + "".join(rows)


def last_of(errors: str) -> str:
    """Returns the last words of a program that failed, of reasons the first."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if re.search(NAMED, line)]
    return (named or lines[-1:] or ["?"])[0][:200]


def python_of(args: argparse.Namespace, runtime: str) -> str:
    """Returns the interpreter that has a runtime."""
    return args.jax_python if runtime == "stablehlo" else sys.executable


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/demo", help="folder of a trained run")
    sizes = "sides of the input; at all but the first, fewer images are compared"
    parser.add_argument("--size", type=int, nargs="+", default=[97, 321], help=sizes)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], help="override of the experiment")
    parser.add_argument("--work", default="/tmp/runtimes", help="exports that are there are taken")
    parser.add_argument("--stage", choices=["compare", "time"], default="compare")
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter that has JAX")
    parser.add_argument("--table", help="file whose table is written")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
