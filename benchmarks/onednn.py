"""Inference and training steps with oneDNN and without it, on the machine at hand.

One JSON line a case and setting, measured in turns by two processes, as TensorFlow chooses once a
process:
  inference: the network as exports run it (normalizations folded), image by image.
  step: a training step of the same experiment (train_step.py).
  demo_step: a training step of the demo, which is thousands of small operations.
`ratio` is the time over that without oneDNN. The first line says what the CPU can do, and whether
TensorFlow uses oneDNN on it by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import tensorflow as tf
import train_step
from measuring import Run, finished, print_line, ratio, summary

import kmax_tf
from kmax_tf.devices import onednn_in_use
from kmax_tf.keras_api import keras
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.processor import ONEDNN, cpu_features

DEMO = "shapes/laptop.textproto"
SETTINGS = {"on": "1", "off": "0"}


def main() -> None:
    """Measures and prints."""
    args = arguments()
    if args.answer:
        answer(build(args, args.answer))
        return
    print_line(
        cpu_features=sorted(cpu_features()),
        onednn=onednn_in_use(),
        **{ONEDNN: os.environ.get(ONEDNN)},
    )
    for case in args.cases:
        with contextlib.ExitStack() as stack:
            processes = {
                name: stack.enter_context(answering(case, value))
                for name, value in SETTINGS.items()
            }
            seconds: dict[str, list[float]] = {name: [] for name in processes}
            for turn in range(args.repeats + 2):  # the first two trace and warm up
                for name, process in processes.items():
                    took = ask(process)
                    if turn > 1:
                        seconds[name].append(took)
        for name, taken in seconds.items():
            print_line(
                case=case,
                onednn=name,
                threads=args.threads,
                **summary(taken),
                ratio=ratio(taken, seconds["off"]),
            )


@contextlib.contextmanager
def answering(case: str, value: str) -> Iterator[subprocess.Popen[str]]:
    """Starts this script again, to run a case each time it is asked to, under a setting."""
    command = [sys.executable, *sys.argv, f"--answer={case}"]
    environment = {**os.environ, ONEDNN: value}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen[str]) -> float:
    """Lets a process run its case once; returns the seconds that it took."""
    process.stdin.write("run\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process ended with {process.wait()}")
    return float(line)


def answer(run: Run) -> None:
    """Runs once a line of input and prints the seconds, until there is no more."""
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


def build(args: argparse.Namespace, case: str) -> Run:
    """Returns what a case runs."""
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if case == "inference" else args.threads)
    keras.utils.set_random_seed(0)
    if case == "inference":
        return inference(args)
    setting = {"config": args.config, "set": [], "size": args.step_size, "batch": 1, "segments": 20}
    if case == "demo_step":
        data = kmax_tf.load_experiment(DEMO).train_data
        setting.update(
            config=DEMO, size=data.crop_size[0], batch=data.batch_size, segments=data.max_segments
        )
    return train_step.cases(argparse.Namespace(**setting, xla=False))["step"]()


def inference(args: argparse.Namespace) -> Run:
    """Returns a forward pass of the experiment's folded model."""
    model = fold_batch_norms(kmax_tf.build_model(kmax_tf.load_experiment(args.config)))
    images = tf.random.uniform([1, args.size, args.size, 3], maxval=255.0)

    @tf.function
    def run(images: tf.Tensor) -> list[tf.Tensor]:
        predictions = model(images, training=False)
        return [predictions["mask_logits"], predictions["class_logits"]]

    return lambda: finished(run(images))


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cases = ["inference", "step", "demo_step"]
    parser.add_argument("cases", nargs="*", default=cases, help=f"by default {' '.join(cases)}")
    parser.add_argument("--config", default="coco/resnet50.textproto", help="experiment file")
    parser.add_argument("--size", type=int, default=641, help="side of the image in inference")
    parser.add_argument("--step-size", type=int, default=321, help="side of the step's image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
