"""`kmax predict` against the bare model: images a second, in turns.

One JSON line a case:
  model: the export's signature on images in memory, one call after another.
  predict: the same images as JPEG files, predicted and written as `kmax predict` does it by
    default. `throughput_ratio` is its images a second over the model's; `cpu_ratio` the same of
    images a second of the cores' work, which other load on the machine changes less.
  first_results: from the start of the command to the first image's results, and its parts.
What is written is a made-up map of segments, since random weights find none, while the model
computes as always; `--segments 0` with an `--export` that is trained writes what that finds.
"""

from __future__ import annotations

import itertools
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from measuring import Run, parser_of, print_line, ratio, summary, time_in_turns

import kmax_tf
from kmax_tf.export.pipeline import predict_pictures
from kmax_tf.export.predictor import Prediction, Predictor, load_predictor
from kmax_tf.export.results import Picture, Results
from kmax_tf.export.saved_model import export_saved_model
from kmax_tf.files.images import encode_image, read_image
from kmax_tf.files.workers import available_cores
from kmax_tf.labels import LabelSpace
from kmax_tf.processor import prefer_onednn


class WithSegments:
    """A model whose panoptic maps are replaced by a made-up one."""

    def __init__(self, predictor: Predictor, panoptic: np.ndarray):
        self.labels, self.identity = predictor.labels, predictor.identity
        self._predictor, self._panoptic = predictor, panoptic
        self._ids = np.unique(panoptic).astype(np.int32)

    def batch(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predicts images of the size of the map."""
        made_up = {
            "panoptic": self._panoptic,
            "segment_ids": self._ids,
            "segment_scores": np.linspace(0.5, 1, len(self._ids), dtype=np.float32),
        }
        return [{**prediction, **made_up} for prediction in self._predictor.batch(images)]


def main() -> None:
    """Measures and prints."""
    parser = parser_of(
        __doc__, config="coco/resnet50.textproto", size=641, segments=20, batch=1, repeats=3
    )
    parser.add_argument("--images", type=int, default=8, help="of a round")
    parser.add_argument("--shape", type=int, nargs=2, default=(480, 640), help="of an image")
    parser.add_argument("--export", help="folder of an export, in place of the experiment")
    args = parser.parse_args()
    prefer_onednn()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        export = args.export or export_of(args.config, args.set, args.size, folder / "export")
        images = [photo(args.shape, seed) for seed in range(args.images)]
        for number, image in enumerate(images):
            path = folder / "images" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode_image(image, "JPEG", quality=92))
        predictor = load_predictor(export, ["panoptic"])
        model = predictor
        if args.segments:
            model = WithSegments(predictor, segments(args.shape, args.segments, predictor.labels))
        outputs = (folder / f"out{number}" for number in itertools.count())

        def bare() -> None:
            for first in range(0, len(images), args.batch):
                predictor.batch(images[first : first + args.batch])

        def whole() -> None:
            results = Results(str(next(outputs)), ["panoptic"], model.labels, model.identity)
            pictures = pictures_in(folder / "images")
            done = predict_pictures(pictures, model, results, args.batch, available_cores())
            results.join([outcome for _, outcome in done])

        runs = {"model": bare, "predict": whole}
        work: dict[str, list[float]] = {name: [] for name in runs}
        counted = {name: counting(run, work[name]) for name, run in runs.items()}
        seconds = time_in_turns(counted, args.repeats)
        for name in runs:
            each = [run / len(images) for run in seconds[name]]
            throughput = ratio(seconds["model"], seconds[name])
            cpu = ratio(work["model"][1:], work[name][1:])
            print_line(
                case=name,
                cores=available_cores(),
                **summary(each),
                throughput_ratio=throughput,
                cpu_ratio=cpu,
            )
        print_line(case="first_results", **first_results(export, folder))


def counting(run: Run, seconds: list[float]) -> Run:
    """Returns a run that notes the seconds that cores worked for it, in whatever thread."""

    def counted() -> None:
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)

    return counted


def export_of(config: str, sets: list[str], size: int, folder: pathlib.Path) -> str:
    """Exports an experiment with random weights."""
    square = [f"eval_data.crop_size={size},{size}", f"eval_data.min_size={size}"]
    experiment = kmax_tf.load_experiment(config, [*square, f"eval_data.max_size={size}", *sets])
    model = kmax_tf.build_model(experiment)
    return export_saved_model(
        model, experiment, folder, ["serving_default", "image_bytes"], images=None
    )


def pictures_in(folder: pathlib.Path) -> list[Picture]:
    """Returns the images of a folder."""
    return [
        Picture((place,), str(path), path.stem, path.stem, lambda path=path: read_image(path))
        for place, path in enumerate(sorted(folder.iterdir()))
    ]


def photo(shape: Sequence[int], seed: int) -> np.ndarray:
    """Makes an image [H, W, 3] uint8 that is smooth and noisy as photos are."""
    rng = np.random.default_rng(seed)
    height, width = shape
    coarse = rng.uniform(0, 255, (height // 16 + 1, width // 16 + 1, 3))
    smooth = scipy.ndimage.zoom(coarse, (16, 16, 1), order=1)[:height, :width]
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def segments(shape: Sequence[int], count: int, labels: LabelSpace) -> np.ndarray:
    """Makes a panoptic map [H, W] of so many segments with wavy edges, one of them unlabeled."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows, columns = rows + 8 * np.sin(columns / 23), columns + 8 * np.sin(rows / 17)
    centers = rng.uniform(0, 1, (count, 2)) * shape
    distances = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in centers]
    classes = [category.id for category in labels.classes]
    ids = np.array([classes[n % 9] * labels.label_divisor + n for n in range(count)], np.int32)
    ids[0] = labels.void_panoptic_id
    return ids[np.argmin(distances, axis=0)]


def first_results(export: str, folder: pathlib.Path) -> dict[str, float]:
    """Returns what `kmax predict` tells of the seconds to its first results."""
    command = [sys.executable, "-m", "kmax_tf.cli.main", "predict", f"--model={export}"]
    words = [str(folder / "images" / "0.jpg"), f"--output={folder / 'first'}"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    told = next(line for line in done.stderr.splitlines() if "first results" in line)
    names = ("seconds", "imports", "loading", "image")
    return dict(zip(names, map(float, re.findall(r"\d+\.\d+", told))))


if __name__ == "__main__":
    main()
