"""`kmax export`: writes a SavedModel for TensorFlow Serving from a checkpoint."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

HELP = "write a SavedModel for TensorFlow Serving"


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
        help="only these of: serving_default, image_bytes, compact, instances, semantic, logits, "
        "assignments; kmax predict needs the first two",
    )
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Restores the checkpoint and exports it."""
    from kmax_tf.checkpoints.restore import find_checkpoint, recorded_experiment, restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.export.saved_model import export_saved_model
    from kmax_tf.export.serving_model import SIGNATURES
    from kmax_tf.model.builder import build_model

    checkpoint = find_checkpoint(args.checkpoint)
    experiment = load_experiment(args.config or recorded_experiment(checkpoint), args.overrides)
    model = build_model(experiment)
    print(restore_weights(model, checkpoint).summary())
    signatures = args.signatures.split(",") if args.signatures else SIGNATURES
    print(f"wrote {export_saved_model(model, experiment, args.output, signatures)}")
    return 0
