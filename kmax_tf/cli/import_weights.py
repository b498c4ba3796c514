"""`kmax import-weights`: makes a checkpoint of ours from a public one."""

from __future__ import annotations

import argparse
import os

from kmax_tf.cli import arguments

HELP = "make a checkpoint from a public TensorFlow, PyTorch or Keras one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--format",
        default="auto",
        choices=["auto", "deeplab2", "pytorch", "keras"],
        help="of the checkpoint; auto goes by the file's name",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="PATH",
        help="prefix, folder or file; 'imagenet' downloads the backbone of keras.applications",
    )
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="gets the checkpoint and the experiment"
    )
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="load only these sub-models, such as backbone"
    )
    parser.add_argument(
        "--source-dataset",
        metavar="NAME",
        help="what it was trained on, a description file or its name: maps classes by name",
    )
    parser.add_argument("--allow-missing", action="store_true", help="let variables be missing")
    parser.add_argument("--allow-unexpected", action="store_true", help="let others be left over")
    arguments.add_config(parser)
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Imports and saves."""
    import tensorflow as tf

    from kmax_tf.checkpoints.exporter import checkpoint_files
    from kmax_tf.checkpoints.importer import import_checkpoint
    from kmax_tf.config import load_experiment
    from kmax_tf.files.ownership import check_free, note_written
    from kmax_tf.files.writing import check_writable
    from kmax_tf.model.builder import build_model
    from kmax_tf.run_record import RUN_RECORD, write_run_record

    experiment = load_experiment(args.config, args.overrides)
    check_writable(args.output)
    names = ("checkpoint", *checkpoint_files("ckpt-0"))
    files = [os.path.join(args.output, name) for name in names]
    check_free([*files, *(os.path.join(args.output, name) for name in RUN_RECORD)])
    model = build_model(experiment)
    report = import_checkpoint(
        model,
        args.checkpoint,
        args.format,
        parts=args.parts,
        source_dataset=args.source_dataset,
        allow_missing=args.allow_missing,
        allow_unexpected=args.allow_unexpected,
    )
    print(report.summary())
    write_run_record(experiment, args.output)
    checkpoint = tf.train.Checkpoint(**model.checkpoint_items)
    manager = tf.train.CheckpointManager(checkpoint, args.output, max_to_keep=None)
    manager.save(checkpoint_number=0)
    for file in files:
        note_written(file)
    print(f"wrote {', '.join(files)}")
    print(f"train from {args.output}, export it, predict with it")
    return 0
