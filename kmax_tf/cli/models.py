"""`kmax models`: prints the shipped experiments as a table: sizes, work and published results.

Parameters are trainable ones, in millions: of the whole model, without the semantic branch (what
the paper counts), and without the predictors of the kMaX blocks either. Multiply-adds are of one
image in inference, in billions.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Optional

from kmax_tf.cli import arguments

if TYPE_CHECKING:
    from kmax_tf.model.kmax import KMaX
    from kmax_tf.protos import experiment_pb2, model_pb2

HELP = "print the shipped experiments: parameters, multiply-adds, published results"

_DATASETS = ("coco", "cityscapes", "ade20k", "pytorch", "shapes")
_CONVNEXT_SIZES: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "T",
    ((3, 3, 27, 3), 96): "S",
    ((3, 3, 27, 3), 128): "B",
    ((3, 3, 27, 3), 192): "L",
}
_RESNET_DEPTHS: dict[tuple[int, ...], str] = {(3, 4, 6, 3): "50", (3, 4, 23, 3): "101"}
_RESULTS = {"pq": "PQ", "pq_things": "things", "pq_stuff": "stuff", "mask_ap": "AP", "miou": "mIoU"}


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """What the table says of an experiment.

    Attributes:
      config: the experiment file.
      backbone: its name.
      height, width: of the network's input.
      parameters: trainable ones of the whole model.
      parameters_without_semantic_branch: the paper's count.
      parameters_without_auxiliary: also without the predictors of the kMaX blocks.
      multiply_adds: of one image in inference.
      published: results in percent, by the names of `Published`, and their source.
    """

    config: str
    backbone: str
    height: int
    width: int
    parameters: int
    parameters_without_semantic_branch: int
    parameters_without_auxiliary: int
    multiply_adds: int
    published: dict[str, Any]


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
    """Prints a row as soon as its model is built and counted."""
    import tensorflow as tf

    from kmax_tf.config import load_experiment
    from kmax_tf.keras_api import keras
    from kmax_tf.model.kmax import check_image_size

    names = args.configs or shipped_experiments()
    experiments = [load_experiment(name, args.overrides) for name in names]
    if args.size:
        check_image_size(tf.TensorShape([1, *args.size, 3]))
    columns = _columns(names)
    if not args.json:
        print("\n".join(_head(columns)), flush=True)
    for name, experiment in zip(names, experiments):
        row = describe(name, experiment, args.size)
        print(json.dumps(dataclasses.asdict(row)) if args.json else _line(row, columns), flush=True)
        # The largest models take a gigabyte each.
        keras.backend.clear_session()
        gc.collect()
    return 0


def shipped_experiments() -> list[str]:
    """Returns the shipped files that are experiments, as `--config` takes them, datasets in turn.

    An experiment is a file with a name; the others are bases.
    """
    from kmax_tf.config import shipped_configs
    from kmax_tf.protos import experiment_pb2
    from kmax_tf.textproto import merge_text

    folder = shipped_configs()
    names = []
    for dataset in _DATASETS:
        for path in sorted((folder / dataset).glob("*.textproto"), key=_backbone_order):
            content = experiment_pb2.Experiment()
            where = f"{path}:{{}}".format
            merge_text(path.read_text(encoding="utf-8"), where, content, {})
            if content.name:
                names.append(path.relative_to(folder).as_posix())
    return names


def describe(
    config: str, experiment: experiment_pb2.Experiment, size: Optional[Sequence[int]] = None
) -> ModelRow:
    """Builds the model of an experiment, counts it and forgets it.

    Args:
      config: name of the row.
      experiment: resolved.
      size: height and width of the input; None: those of the evaluation.
    """
    from kmax_tf.model.builder import build_model
    from kmax_tf.model.complexity import multiply_adds

    height, width = size or experiment.eval_data.crop_size
    model = build_model(experiment)
    total, without_semantic, without_auxiliary = _trainable_parameters(model)
    published = {
        field.name: round(value, 3) if isinstance(value, float) else value
        for field, value in experiment.published.ListFields()
    }
    return ModelRow(
        config=config,
        backbone=backbone_name(experiment.model),
        height=height,
        width=width,
        parameters=total,
        parameters_without_semantic_branch=without_semantic,
        parameters_without_auxiliary=without_auxiliary,
        multiply_adds=multiply_adds(model, height, width),
        published=published,
    )


def backbone_name(options: model_pb2.Model) -> str:
    """Names a backbone: ResNet-50, MaX-S, ConvNeXt-T, or its blocks where it has no name."""
    from kmax_tf.protos import model_pb2

    if options.HasField("convnext"):
        convnext = options.convnext
        blocks = tuple(convnext.blocks)
        letter = _CONVNEXT_SIZES.get((blocks, convnext.channels[0]))
        return f"ConvNeXt-{letter}" if letter else "ConvNeXt " + "-".join(map(str, blocks))
    stages = options.resnet.stages
    blocks = tuple(stage.blocks for stage in stages)
    widths = [stage.filters for stage in stages]
    depth = _RESNET_DEPTHS.get(blocks) if widths == [64, 128, 256, 512] else None
    axial = [stage.block_type == model_pb2.AXIAL for stage in stages]
    if depth == "50" and axial == [False, False, True, True]:
        return "MaX-S"
    if depth and not any(axial):
        return f"ResNet-{depth}"
    return "ResNet " + "-".join(map(str, blocks))


def _trainable_parameters(model: KMaX) -> tuple[int, int, int]:
    """Returns those of all, without the semantic branch, and without the blocks' predictors."""

    def count(variables: Iterable[Any]) -> int:
        return sum(int(variable.shape.num_elements()) for variable in variables)

    total = count(model.trainable_variables)
    branch = model.semantic_branch
    semantic = count(branch.trainable_variables) if branch is not None else 0
    heads = sum(
        count(block.heads.trainable_variables) for block in model.transformer_decoder.blocks
    )
    return total, total - semantic, total - semantic - heads


def _backbone_order(path: Any) -> tuple[int, str]:
    """Sorts files by the size of their backbone, smallest first."""
    order = ("resnet50", "max_s", "convnext_tiny", "convnext_small", "convnext_base")
    place = next((i for i, name in enumerate(order) if name in path.name), len(order))
    return place, path.name


def _columns(names: Sequence[str]) -> dict[str, int]:
    """Returns titles and least widths; negative ones are of numbers, which go to the right."""
    return {
        "config": max(len("config"), *(len(name) for name in names)),
        "backbone": 14,
        "input": -9,
        "parameters, M": -13,
        "- semantic": -10,
        "- predictors": -12,
        "multiply-adds, G": -16,
        **dict.fromkeys(_RESULTS.values(), -6),
        "source": 0,
    }


def _head(columns: dict[str, int]) -> list[str]:
    titles = _padded(list(columns), columns)
    rule = ["-" * (abs(width) or 6) for width in columns.values()]
    marked = [line[:-1] + ":" if width < 0 else line for line, width in zip(rule, columns.values())]
    return [titles, f"| {' | '.join(marked)} |"]


def _line(row: ModelRow, columns: dict[str, int]) -> str:
    """Returns a row of the table, which is Markdown too."""
    results = [f"{row.published[name]:.1f}" if name in row.published else "" for name in _RESULTS]
    cells = [
        row.config,
        row.backbone,
        f"{row.height}x{row.width}",
        f"{row.parameters / 1e6:.2f}",
        f"{row.parameters_without_semantic_branch / 1e6:.2f}",
        f"{row.parameters_without_auxiliary / 1e6:.2f}",
        f"{row.multiply_adds / 1e9:.2f}",
        *results,
        row.published.get("source", ""),
    ]
    return _padded(cells, columns)


def _padded(cells: Sequence[str], columns: dict[str, int]) -> str:
    padded = [
        cell.rjust(-width) if width < 0 else cell.ljust(width)
        for cell, width in zip(cells, columns.values())
    ]
    return f"| {' | '.join(padded)} |"
