"""Panoptic quality of PNG files: ours, panopticapi where it is installed, and masks a segment.

One JSON line a case. `decoded` maps are ids in memory, so that only counting is timed; `files` are
PNGs. `ratio` is the time over that of the reference named beside it, measured in turns on the same
files: panopticapi (github.com/cocodataset/panopticapi), else `per_segment`, the plain formulation
with a mask for each segment. With all cores, the start of the processes counts, too. `command` is
all that a user waits for, from the start of Python on, with all cores.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Callable
from unittest import mock

import numpy as np

from kmax_tf.evaluation.from_files import counting
from kmax_tf.evaluation.from_files.counting import evaluate_pairs
from kmax_tf.evaluation.from_files.pairing import pair_images
from kmax_tf.evaluation.from_files.panoptic_file import categories_of, read_panoptic_file
from kmax_tf.files.progress import Progress
from kmax_tf.files.workers import available_cores
from kmax_tf.panoptic.overlaps import find_overlaps
from kmax_tf.panoptic.png import encode_ids

panopticapi: Any = None  # where it is installed
if __name__ == "__main__":  # not in the workers: it imports TensorFlow, which takes seconds
    from measuring import parser_of, print_line, ratio, summary, time_in_turns

    with contextlib.suppress(ImportError):
        panopticapi = importlib.import_module("panopticapi.evaluation")

CATEGORIES = [
    {"id": number, "name": f"class {number}", "isthing": number % 2} for number in range(1, 11)
]


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__, size=(480, 640), segments=15, repeats=5)
    parser.add_argument("--images", type=int, default=100, help="PNGs of each kind")
    parser.add_argument("--copies", type=int, default=10, help="of the set, for all cores")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Data(pathlib.Path(folder), args)
        one_core(data, args)
        all_cores(data, args)
        for images in (5, 20, args.images):
            commands(data, args, images)
        state_size(data)


class Data:
    """A set of files, and the ids in them."""

    def __init__(self, folder: pathlib.Path, args: argparse.Namespace):
        rng = np.random.default_rng(0)
        self.folder, self.maps, content = folder, {}, {"truth": [], "predictions": []}
        for name in content:
            (folder / name).mkdir()
        for number in range(args.images):
            for name, ids in zip(content, scene(rng, tuple(args.size), args.segments)):
                present, counts = np.unique(ids[ids > 0], return_counts=True)
                path = folder / name / f"{number}.png"
                path.write_bytes(encode_ids(ids))
                self.maps[str(path)] = ids.astype(np.int32)
                segments = [
                    {"id": int(i), "category_id": int(i % len(CATEGORIES)) + 1, "area": int(area)}
                    for i, area in zip(present, counts)
                ]
                for segment in segments:
                    segment.update(iscrowd=0, score=0.5)
                entry = {"file_name": path.name, "segments_info": segments}
                content[name].append({"image_id": number, **entry})
        self.annotations = content
        for name, entries in content.items():
            text = json.dumps({"annotations": entries, "categories": CATEGORIES})
            (folder / f"{name}.json").write_text(text)
        truth = read_panoptic_file(str(folder / "truth.json"))
        predictions = read_panoptic_file(str(folder / "predictions.json"))
        self.labels = categories_of(truth)
        self.pairs = pair_images(truth, predictions, self.labels).pairs

    def id_maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the true and the predicted ids of each pair."""
        return [(self.maps[pair.true.path], self.maps[pair.predicted.path]) for pair in self.pairs]

    def count_officially(self, copies: int = 0) -> None:
        """Lets panopticapi count, in one process or, so many copies of the set, with all cores."""
        matched = list(zip(self.annotations["truth"], self.annotations["predictions"]))
        places = (
            *(str(self.folder / name) for name in self.annotations),
            {category["id"]: category for category in CATEGORIES},
        )
        with contextlib.redirect_stdout(io.StringIO()):
            if copies:
                panopticapi.pq_compute_multi_core(matched * copies, *places)
            else:
                panopticapi.pq_compute_single_core(0, matched, *places)


def scene(rng: np.random.Generator, size: tuple[int, int], segments: int):
    """Draws a true and a predicted map: cells with rough edges, of which some move or merge."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    rows += 6 * np.sin(columns / 17) + rng.normal(0, 0.7, size)
    columns += 5 * np.cos(rows / 13)
    centers = rng.random((segments, 2)) * size
    distance = (rows[..., None] - centers[:, 0]) ** 2 + (columns[..., None] - centers[:, 1]) ** 2
    cells = distance.argmin(axis=-1)
    ids = rng.choice(2**24 - 1, segments, replace=False) + 1
    ids[0] = 0  # unlabeled
    predicted = ids.copy()
    predicted[1] = predicted[2]
    return ids[cells], np.roll(predicted[cells], rng.integers(2, 12), axis=1)


def one_core(data: Data, args: argparse.Namespace) -> None:
    """Times one process, with and without the decoding of PNGs."""

    def ours() -> None:
        evaluate(data.pairs, data.labels, False, 1)

    def from_memory() -> None:
        with mock.patch.object(counting, "read_ids", data.maps.__getitem__):
            ours()

    files: dict[str, Callable[[], Any]] = {"kmax_tf": ours, "decoding alone": lambda: decode(data)}
    decoded = {
        "kmax_tf": from_memory,
        "overlaps alone": lambda: [find_overlaps(*maps) for maps in data.id_maps()],
        "np.unique of pairs": lambda: [sort_pairs(*maps) for maps in data.id_maps()],
        "per_segment": lambda: per_segment(data),
    }
    if panopticapi is not None:
        files["panopticapi"] = data.count_officially
        decoded["panopticapi"] = lambda: officially_from_memory(data)
    report("decoded", decoded, args, 1, args.images)
    report("files", files, args, 1, args.images)


def all_cores(data: Data, args: argparse.Namespace) -> None:
    """Times as many processes as there are cores, on the same files again and again."""
    pairs = []
    for copy in range(args.copies):
        for pair in data.pairs:
            true = dataclasses.replace(pair.true, image_id=f"{copy}-{pair.true.image_id}")
            pairs.append(dataclasses.replace(pair, true=true))
    cores = available_cores()
    runs = {
        "kmax_tf": lambda: evaluate(pairs, data.labels, False, cores),
        "kmax_tf on one core": lambda: evaluate(pairs, data.labels, False, 1),
    }
    if panopticapi is not None:
        runs["panopticapi"] = lambda: data.count_officially(args.copies)
    report("files", runs, args, cores, len(pairs))


def commands(data: Data, args: argparse.Namespace, images: int) -> None:
    """Times whole commands on the first images of the set."""
    jsons, folders = [], [str(data.folder / name) for name in data.annotations]
    for name in data.annotations:
        content = json.loads((data.folder / f"{name}.json").read_text())
        content["annotations"] = content["annotations"][:images]
        path = data.folder / f"first_{name}.json"
        path.write_text(json.dumps(content))
        jsons.append(str(path))

    def command(module: str, options: Sequence[str], *more: str) -> Callable[[], Any]:
        places = zip(options, [*jsons, *folders])
        words = [word for option, place in places for word in (option, place)]
        return lambda: subprocess.run(
            [sys.executable, "-m", module, *more, *words], check=True, capture_output=True
        )

    of_ours = ("--ground-truth", "--predictions", "--ground-truth-folder", "--predictions-folder")
    ours = ("kmax_tf.cli.main", of_ours, "evaluate-files", "--output", str(data.folder / "out"))
    runs = {
        "kmax_tf": command(*ours, "--no-mask-ap", "--no-pictures"),
        "kmax_tf, mask AP": command(*ours, "--no-pictures"),
        "kmax_tf, mask AP, pictures": command(*ours),
    }
    if panopticapi is not None:
        of_theirs = ("--gt_json_file", "--pred_json_file", "--gt_folder", "--pred_folder")
        runs["panopticapi"] = command("panopticapi.evaluation", of_theirs)
    report("command", runs, args, available_cores(), images)


def report(kind: str, runs: dict[str, Callable[[], Any]], args, cores: int, images: int) -> None:
    """Times functions in turns and prints a line each."""
    seconds = time_in_turns(runs, args.repeats)
    reference = next(
        (n for n in ("panopticapi", "per_segment", "kmax_tf on one core") if n in runs), "kmax_tf"
    )
    for name, of_run in seconds.items():
        figures = summary(of_run)
        print_line(
            case=name,
            maps=kind,
            cores=cores,
            size=list(args.size),
            segments=args.segments,
            ms_per_image=round(figures["median_ms"] / images, 3),
            images_per_s=round(1e3 * images / figures["median_ms"], 1),
            reference=reference,
            ratio=ratio(of_run, seconds[reference]),
        )


def state_size(data: Data) -> None:
    """Prints what a worker sends: constant, but for the instances that mask AP needs."""
    for mask_ap in (False, True):
        sizes = [
            len(evaluate(pairs, data.labels, mask_ap, 1)[0].state())
            for pairs in (data.pairs[: len(data.pairs) // 2], data.pairs)
        ]
        print_line(case="state", mask_ap=mask_ap, images=len(data.pairs), bytes_half_and_all=sizes)


def evaluate(*options: Any) -> tuple[Any, list[str]]:
    """Evaluates pairs and shows nothing."""
    return evaluate_pairs(*options, Progress(None, "", io.StringIO()))


def decode(data: Data) -> None:
    """Decodes the PNGs of all pairs: no evaluation of files can be faster."""
    for pair in data.pairs:
        counting.read_ids(pair.true.path)
        counting.read_ids(pair.predicted.path)


def sort_pairs(truth: np.ndarray, prediction: np.ndarray) -> Any:
    """Counts the pairs of ids by sorting pixels: the usual way."""
    return np.unique(truth.astype(np.uint64) << 24 | prediction.view(np.uint32), return_counts=True)


def per_segment(data: Data) -> int:
    """Counts matches with a mask a segment, the plain formulation."""
    matches = 0
    for pair in data.pairs:
        truth, prediction = (data.maps[info.path] for info in (pair.true, pair.predicted))
        void = truth == 0
        predicted = [(s.category_id, prediction == s.id) for s in pair.predicted.segments]
        for segment in pair.true.segments:
            mask = truth == segment.id
            for category_id, other in predicted:
                if category_id == segment.category_id:
                    shared = np.count_nonzero(mask & other)
                    union = np.count_nonzero((other & ~void) | mask)
                    matches += 2 * shared > union
    return matches


def officially_from_memory(data: Data) -> None:
    """Lets panopticapi find ids in memory, and spares it their composition from colors."""
    opener = mock.Mock(open=lambda path: data.maps[path].view(np.uint32))
    with mock.patch.multiple(panopticapi, Image=opener, rgb2id=lambda ids: ids):
        data.count_officially()


if __name__ == "__main__":
    main()
