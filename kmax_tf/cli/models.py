"""`kmax models`: prints the shipped experiments as a table: sizes, work and published results.

Parameters are trainable ones, in millions: of the whole model, and without the semantic branch,
which is what the paper counts. Multiply-adds are of one image in inference, in billions.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional

from kmax_tf.cli import arguments

if TYPE_CHECKING:
    from kmax_tf.config import Experiment
    from kmax_tf.keras_api import keras

HELP = "print the shipped experiments: parameters, multiply-adds, published results"

# In the order of the table.
_DATASETS = ("coco", "cityscapes", "ade20k", "pytorch", "shapes")
_BACKBONES = ("resnet50", "max_s", "convnext_tiny", "convnext_small", "convnext_base")
_RESULTS = {"pq": "PQ", "pq_things": "things", "pq_stuff": "stuff", "mask_ap": "AP", "miou": "mIoU"}
# Format of the columns: > is of numbers, which go to the right.
_COLUMNS = {
    "config": "<37",
    "backbone": "<14",
    "input": ">9",
    "parameters, M": ">13",
    "- semantic": ">10",
    "multiply-adds, G": ">16",
    **dict.fromkeys(_RESULTS.values(), ">6"),
    "source": "<6",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--config",
        action="append",
        dest="configs",
        metavar="FILE",
        help="only this experiment (repeatable); by default all that are shipped",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="of the input; by default that of the experiment's evaluation",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a row as soon as its model is built and counted.

    Raises:
      UserError: an experiment is wrong, or the size is none that models take.
    """
    from kmax_tf.config import load_experiment, shipped_experiments
    from kmax_tf.grids import check_image_size
    from kmax_tf.keras_api import keras

    if args.size:
        check_image_size([1, *args.size, 3])
    names = args.configs or sorted(shipped_experiments(), key=order)
    experiments = [load_experiment(name, args.overrides) for name in names]
    if not args.json:
        print(_head(), flush=True)
    for number, (name, experiment) in enumerate(zip(names, experiments), start=1):
        with _told(f"counting {name} ({number} of {len(names)}) ..."):
            row = describe(name, experiment, args.size)
        print(json.dumps(row) if args.json else _line(row), flush=True)
        # The largest models take a gigabyte each.
        keras.backend.clear_session()
        gc.collect()
    return 0


@contextlib.contextmanager
def _told(line: str) -> Iterator[None]:
    """Shows what is being done; on a terminal the row takes its place."""
    live = sys.stderr.isatty()
    print(line, end="" if live else "\n", file=sys.stderr, flush=True)
    yield
    if live:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def describe(
    config: str, experiment: Experiment, size: Optional[Sequence[int]] = None
) -> dict[str, Any]:
    """Builds the model of an experiment, counts it and forgets it.

    Args:
      config: name of the row.
      experiment: resolved.
      size: height and width of the input; None: those of the evaluation.

    Returns:
      What the table says, ready for JSON; `published` has results in percent, by the names of
      `Published`, and their source.
    """
    from kmax_tf.model.builder import build_model
    from kmax_tf.model.complexity import multiply_adds

    height, width = size or experiment.eval_data.crop_size
    model = build_model(experiment)
    parameters = _trainable_parameters(model)
    branch = _trainable_parameters(model.semantic_branch) if model.semantic_branch else 0
    published = {
        field.name: round(value, 3) if isinstance(value, float) else value
        for field, value in experiment.published.ListFields()
    }
    return {
        "config": config,
        "backbone": model.backbone.title,
        "height": height,
        "width": width,
        "parameters": parameters,
        "parameters_without_semantic_branch": parameters - branch,
        "multiply_adds": multiply_adds(model, height, width),
        "published": published,
    }


def _trainable_parameters(part: keras.layers.Layer) -> int:
    return sum(int(variable.shape.num_elements()) for variable in part.trainable_variables)


def order(name: str) -> tuple[int, int, str]:
    """Sorts experiments by dataset, and then by the size of their backbone, smallest first."""
    dataset, _, file = name.partition("/")
    backbone = next((i for i, start in enumerate(_BACKBONES) if start in file), len(_BACKBONES))
    return _DATASETS.index(dataset), backbone, name


def _head() -> str:
    """Returns the titles and the line below them."""
    rules = {title: "-" * len(format("", layout)) for title, layout in _COLUMNS.items()}
    marked = [
        rule[:-1] + ":" if _COLUMNS[title][0] == ">" else rule for title, rule in rules.items()
    ]
    return f"{_padded(list(_COLUMNS))}\n{_padded(marked)}"


def _line(row: dict[str, Any]) -> str:
    """Returns a row of the table, which is Markdown too."""
    published = row["published"]
    results = [f"{published[name]:.1f}" if name in published else "" for name in _RESULTS]
    return _padded(
        [
            row["config"],
            row["backbone"],
            f"{row['height']}x{row['width']}",
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['parameters_without_semantic_branch'] / 1e6:.2f}",
            f"{row['multiply_adds'] / 1e9:.2f}",
            *results,
            published.get("source", ""),
        ]
    )


def _padded(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(format, cells, _COLUMNS.values()))} |"
