"""`kmax export`: writes a model from a checkpoint, for TensorFlow Serving or another runtime."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments
from kmax_tf.errors import UserError

HELP = "write a SavedModel for TensorFlow Serving, or a model for another runtime"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--config", help="experiment file; by default the one in the checkpoint's folder"
    )
    parser.add_argument(
        "--checkpoint", required=True, help="prefix of a checkpoint, or folder of a run"
    )
    parser.add_argument(
        "--output", required=True, help="folder of versions; the first goes to OUTPUT/1"
    )
    parser.add_argument(
        "--signatures",
        metavar="NAME,...",
        help="only these of: serving_default, image_bytes, compact, with_thresholds, instances, "
        "semantic, logits, assignments; kmax predict needs the first two",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="what the network computes in (%(default)s); the others pay where the processor "
        "multiplies them, and change maps, which is told",
    )
    parser.add_argument(
        "--size",
        metavar="H,W",
        help="of the network's input, each 32k + 1, in place of the experiment's; the signature "
        "logits then takes images of this size, and its shapes are known",
    )
    parser.add_argument("--xla", action="store_true", help="let XLA compile the network: for GPUs")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="FILE",
        help="images to try the export with; by default the first of the evaluation records",
    )
    parser.add_argument(
        "--no-trial",
        action="store_true",
        help="publish without trying the export in a process of its own",
    )
    parser.add_argument(
        "--format",
        choices=["savedmodel", "onnx", "openvino", "litert", "stablehlo"],
        default="savedmodel",
        help="all but the first need an extra: pip install 'kmax-tf[FORMAT]' (%(default)s)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FOLDER|records",
        help="with --format litert: convolutions and dense layers in 8-bit integers, scaled by the "
        "images of a folder, or by those that the experiment trains on",
    )
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Restores the checkpoint and exports it."""
    from kmax_tf.checkpoints.restore import find_checkpoint, recorded_experiment, restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.export.formats.exporting import export_format
    from kmax_tf.export.saved_model import ExportOptions, publish
    from kmax_tf.export.serving_model import SIGNATURES
    from kmax_tf.model.builder import build_model

    _check_format(args)
    checkpoint = find_checkpoint(args.checkpoint)
    overrides = [*args.overrides, *_of_size(args.size)]
    experiment = load_experiment(args.config or recorded_experiment(checkpoint), overrides)
    model = build_model(experiment)
    print(restore_weights(model, checkpoint).summary())
    if args.format != "savedmodel":
        folder = export_format(model, experiment, args.output, args.format, args.calibration)
        print(f"wrote {folder}")
        return 0
    options = ExportOptions(args.precision, args.xla, fixed_size=args.size is not None)
    folder, report = publish(
        model,
        experiment,
        args.output,
        args.signatures.split(",") if args.signatures else SIGNATURES,
        options,
        None if args.no_trial else args.images,
    )
    if report is not None:
        print(report.summary())
    print(f"wrote {folder}")
    return 0


def _check_format(args: argparse.Namespace) -> None:
    """Refuses options that don't go with a format, before anything takes time.

    Raises:
      UserError: names the first.
    """
    from kmax_tf.export.formats.table import writer_of

    if args.calibration is not None and args.format != "litert":
        raise UserError("--calibration is for --format litert: others compute in float32")
    if args.format == "savedmodel":
        return
    others = {
        "--signatures": args.signatures,
        "--precision": args.precision != "float32",
        "--xla": args.xla,
        "--images": args.images,
        "--no-trial": args.no_trial,
    }
    for option in (name for name, given in others.items() if given):
        raise UserError(f"{option} is for SavedModels; it does nothing with --format {args.format}")
    writer_of(args.format)


def _of_size(size: str | None) -> list[str]:
    """Returns the overrides that make a size H,W that of the network's input.

    Raises:
      UserError: it isn't two numbers.
    """
    if size is None:
        return []
    sides = size.split(",")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise UserError(f"--size is height and width, as in 641,641; not {size!r}")
    height, width = (int(side) for side in sides)
    return [
        f"eval_data.crop_size={height},{width}",
        f"eval_data.min_size={min(height, width)}",
        f"eval_data.max_size={max(height, width)}",
    ]
