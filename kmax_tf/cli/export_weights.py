"""`kmax export-weights`: writes our weights as a public implementation's checkpoint."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

HELP = "write weights as a deeplab2, PyTorch or safetensors checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("--format", required=True, choices=["deeplab2", "pytorch", "safetensors"])
    parser.add_argument(
        "--config", help="experiment file; by default the one in the checkpoint's folder"
    )
    parser.add_argument(
        "--checkpoint", required=True, help="prefix of a checkpoint, or folder of a run"
    )
    parser.add_argument("--output", required=True, help="prefix (deeplab2) or file")
    arguments.add_overrides(parser)
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Restores the checkpoint and writes it anew."""
    from kmax_tf.checkpoints.exporter import export_checkpoint, exported_files
    from kmax_tf.checkpoints.restore import find_checkpoint, recorded_experiment, restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.files.ownership import check_free
    from kmax_tf.model.builder import build_model

    checkpoint = find_checkpoint(args.checkpoint)
    files = exported_files(args.output, args.format)
    check_free(files)
    experiment = load_experiment(args.config or recorded_experiment(checkpoint), args.overrides)
    model = build_model(experiment)
    print(restore_weights(model, checkpoint).summary())
    export_checkpoint(model, args.output, args.format)
    prefix = f", a checkpoint of the prefix {args.output}" if args.format == "deeplab2" else ""
    print(f"wrote {' and '.join(files)}{prefix}")
    return 0
