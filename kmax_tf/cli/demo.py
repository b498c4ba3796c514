"""`kmax demo`: the whole system on a laptop, from drawing a dataset to predicting with the export.

Every stage is what a user would run by hand. Run it again after an interruption and it continues;
run it after it finished and it only shows the results.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kmax_tf.cli import arguments
from kmax_tf.library_noise import without_known_lines
from kmax_tf.wording import count_of

HELP = "generate, train, evaluate, export and predict on a laptop (about 5 minutes)"

CONFIG = "shapes/laptop.textproto"
HELD_OUT_PICTURES = 12
PATIENCE_SECONDS = 5.0  # with an interrupted stage
STAGES = {
    "generate": "draw a dataset in COCO's format",
    "convert": "make records of it, which training reads",
    "train": f"train the model of {CONFIG} on them",
    "evaluate": "measure the trained model on held-out images, with a report",
    "export": "write the model as a TensorFlow Serving folder",
    "predict": f"segment {HELD_OUT_PICTURES} held-out images with the export alone",
    "compare": "check that evaluation, run and export give every held-out image the same map",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("--output", default="runs/demo", help="folder of everything (%(default)s)")
    parser.add_argument("--train-images", type=int, default=2000, help="(%(default)s)")
    parser.add_argument("--val-images", type=int, default=200, help="(%(default)s)")
    arguments.add_overrides(parser)


def run_process(words: Sequence[str]) -> int:
    """Runs a command and returns its exit status.

    An interruption from a terminal goes to the command as well, which gets some seconds to end.
    """
    process = subprocess.Popen(words)
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


class StageError(Exception):
    """A stage that exited with an error, which it has printed."""


def run(args: argparse.Namespace) -> int:
    """Runs the stages that are not finished, then sums up."""
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.writing import check_writable

    check_writable(args.output)
    root = Path(args.output)
    check_free([root / "stages.json"])
    data = f"--set=data_dir={root / 'records'}"
    overrides = [data, *(f"--set={change}" for change in args.overrides)]
    draw = ["--train", args.train_images, "--val", args.val_images]
    convert = ["--description", "shapes", "--source", root / "coco", "--output", root / "records"]
    # The next stage evaluates, with a report: once is enough.
    train = ["--config", CONFIG, "--model_dir", root, "--mode", "train", *overrides]
    stages = Stages(root / "stages.json", [args.train_images, args.val_images, args.overrides])
    try:
        stages.run("generate", ["make-shapes", "--output", root / "coco", *draw])
        stages.run("convert", ["convert-dataset", "coco", *convert])
        stages.run("train", ["train", *train])
        stages.run("evaluate", ["evaluate", "--model_dir", root, "--submission", "coco"])
        stages.run("export", ["export", "--checkpoint", root, "--output", root / "export"])
        stages.call("predict", lambda: predict_held_out(root))
        stages.call("compare", lambda: compare_maps(root))
    except StageError as failure:
        print(f"kmax demo: {failure}; fix it and run the same again: it continues there")
        return 1
    except KeyboardInterrupt:
        print("\nkmax demo: run the same again, and it continues where it was", file=sys.stderr)
        raise
    sum_up(root, stages.seconds)
    return 0


class Stages:
    """Runs each stage once: what is finished is written down, with its time.

    Attributes:
      seconds: of each finished stage.
    """

    def __init__(self, path: Path, settings: Sequence[object]):
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self.seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or another's
            record = json.loads(path.read_text("utf-8"))
            if record["settings"] == self.settings:
                self.seconds = record["seconds"]

    def run(self, name: str, words: Sequence[object]) -> None:
        """Runs a kmax command as a stage.

        Raises:
          StageError: it exited with an error.
        """

        def call() -> None:
            command = [str(word) for word in words]
            print(f"  $ kmax {shlex.join(command)}", flush=True)
            status = run_process([sys.executable, "-m", "kmax_tf.cli.main", *command])
            if status:
                raise StageError(f"the stage '{name}' exited with {status}")

        self.call(name, call)

    def call(self, name: str, stage: Callable[[], None]) -> None:
        """Runs a function as a stage, unless it has finished before."""
        from kmax_tf.files.writing import write_atomically

        title = f"[{list(STAGES).index(name) + 1}/{len(STAGES)}] {name}"
        if name in self.seconds:
            print(f"{title}: done before, in {self.seconds[name]:.0f} s", flush=True)
            return
        print(f"{title}: {STAGES[name]}", flush=True)
        start = time.monotonic()
        stage()
        self.seconds[name] = time.monotonic() - start
        record = {"settings": self.settings, "seconds": self.seconds}
        write_atomically(self.path, json.dumps(record, indent=1))
        print(f"{title}: done in {self.seconds[name]:.0f} s", flush=True)


def predict_held_out(root: Path) -> None:
    """Predicts held-out images in a process that cannot import kmax_tf, and draws them."""
    images = sorted((root / "coco" / "val2017").glob("*.jpg"))[:HELD_OUT_PICTURES]
    export = max((root / "export").glob("[0-9]*"), key=lambda version: int(version.name))
    output = root / "predictions"
    output.mkdir(exist_ok=True)
    client = Path(__file__).with_name("saved_model_client.py").read_text()
    command = [sys.executable, "-c", client, export, output, *images]
    with without_known_lines(), concurrent.futures.ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run_process, [str(word) for word in command])
        # Meanwhile: these import TensorFlow, which takes seconds.
        import numpy as np

        from kmax_tf.export.result_files import write_result
        from kmax_tf.export.version_folder import read_labels
        from kmax_tf.files.images import read_image
    if ended.result():
        raise StageError("the process that loads the export failed")
    labels = read_labels(export)
    for path in images:
        with np.load(output / f"{path.stem}.npz") as maps:
            write_result(str(output), path.stem, read_image(path), dict(maps), labels)


def compare_maps(root: Path) -> None:
    """Checks that an image has one map, whichever way it is predicted."""
    from kmax_tf.export.map_agreement import count_agreeing

    images = {path.stem: path for path in (root / "coco" / "val2017").glob("*.jpg")}
    submission = root / "submission" / "panoptic_results.json"
    same = count_agreeing(submission, [root, root / "export"], images)
    if same < len(images):
        raise StageError(
            f"{len(images) - same} of {count_of(len(images), 'image')} got several maps"
        )


def sum_up(root: Path, seconds: dict[str, float]) -> None:
    """Prints the results and where everything is."""
    metrics = json.loads((root / "metrics.json").read_text())
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    print(
        f"""
PQ on {metrics["images"]} held-out images: {metrics["pq"]["all"]:.1f}\
 (things {metrics["pq"]["things"]:.1f}, stuff {metrics["pq"]["stuff"]:.1f})\
   mIoU {metrics["miou"]:.1f}
one result:    each image has the same map from evaluation, run, export and its two signatures
time:          {sum(seconds.values()):.0f} s ({times})
all numbers:   {root / "metrics.json"}
report:        {root / "report.html"} (open it in a browser)
pictures:      {root / "pictures"} (input, truth, prediction), {root / "predictions"} (overlays)
export:        {root / "export"} (a TensorFlow Serving folder)
TensorBoard:   tensorboard --logdir {root}"""
    )
