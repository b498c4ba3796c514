"""`kmax export`: writes a model from a checkpoint, for TensorFlow Serving or another runtime."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

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
        help="only these of: serving_default, image_bytes, compact, instances, semantic, logits; "
        "kmax predict needs the first two",
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
        help="with --format litert: computes the network in 8-bit integers, scaled by the images "
        "of a folder, or by those that the experiment trains on",
    )
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Restores the checkpoint and exports it."""
    from kmax_tf.checkpoints.restore import find_checkpoint, recorded_experiment, restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.export.formats.exporting import export_format
    from kmax_tf.export.saved_model import export_saved_model
    from kmax_tf.export.serving_model import SIGNATURES
    from kmax_tf.model.builder import build_model

    _check(args)
    checkpoint = find_checkpoint(args.checkpoint)
    experiment = load_experiment(args.config or recorded_experiment(checkpoint), args.overrides)
    model = build_model(experiment)
    print(restore_weights(model, checkpoint).summary())
    if args.format != "savedmodel":
        target = export_format(model, experiment, args.output, args.format, args.calibration)
    else:
        signatures = args.signatures.split(",") if args.signatures else SIGNATURES
        target = export_saved_model(model, experiment, args.output, signatures)
    print(f"wrote {target}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses options that don't go together, before anything takes time."""
    from kmax_tf.errors import UserError
    from kmax_tf.export.formats.table import writer_of

    if args.calibration is not None and args.format != "litert":
        raise UserError("--calibration is for --format litert: others compute in float32")
    if args.format == "savedmodel":
        return
    if args.signatures:
        raise UserError(f"--signatures are those of a SavedModel; --format {args.format} has one")
    writer_of(args.format)
