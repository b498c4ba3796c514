"""Draws what runs reached while they trained, as curves over steps, from their TensorBoard logs.

python benchmarks/curves.py --run "k-means=runs/hard" --run "softmax=runs/hard_softmax" \
    --output docs/images/cross_attention.png

Runs of one name (with other seeds, say) are drawn as their mean, with a band from the least to the
most. Prints one JSON line a run: what it reached at its last step.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from measuring import print_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Folder and tag of a log -> title.
PANELS = {
    ("train", "training_loss"): "training loss",
    ("validation", "pq/all"): "PQ",
    ("validation", "pq/things"): "PQ of things",
    ("validation", "pq/stuff"): "PQ of stuff",
}
COLORS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8f5fbf", "#c98a1b")

Curve = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Reads, prints and draws."""
    args = arguments()
    runs: dict[str, list[pathlib.Path]] = {}
    for name, folder in args.run:
        runs.setdefault(name, []).append(pathlib.Path(folder))
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, title in zip(axes, PANELS.values()):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for color, (name, folders) in zip(COLORS, runs.items()):
        curves = [read(folder) for folder in folders]
        for folder, run in zip(folders, curves):
            last = {PANELS[key]: round(float(values[-1]), 2) for key, (_, values) in run.items()}
            print_line(run=name, folder=str(folder), **last)
        for axis, key in zip(axes, PANELS):
            draw(axis, [run[key] for run in curves], color, name)
    axes[0].legend(fontsize=8, frameon=False)
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    figure.savefig(args.output, dpi=110)


def read(folder: pathlib.Path) -> dict[tuple[str, str], Curve]:
    """Returns steps and values of each panel."""
    curves = {}
    for part, tag in PANELS:
        log = EventAccumulator(str(folder / part), size_guidance={"tensors": 0})
        log.Reload()
        if tag not in log.Tags()["tensors"]:
            raise SystemExit(f"{folder / part} has no {tag}: is {folder} the folder of a run?")
        events = log.Tensors(tag)
        values = np.array([tf.make_ndarray(event.tensor_proto) for event in events], np.float64)
        curves[part, tag] = (np.array([event.step for event in events]), values)
    return curves


def draw(axis, curves: list[Curve], color: str, name: str) -> None:
    """Draws the mean of some runs at the steps that all have, and what lies between them."""
    steps = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves)))
    values = np.stack([[dict(zip(s.tolist(), v))[step] for step in steps] for s, v in curves])
    axis.plot(steps, values.mean(axis=0), color=color, label=name, linewidth=1.5)
    axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15)


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        type=lambda text: text.partition("=")[::2],
        metavar="NAME=FOLDER",
        help="of a run; repeatable",
    )
    parser.add_argument("--output", required=True, help="the picture, PNG or SVG")
    return parser.parse_args()


if __name__ == "__main__":
    main()
