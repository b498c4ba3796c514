"""`kmax convert-dataset`: makes TFRecords of a dataset in its publisher's layout."""

from __future__ import annotations

import argparse
import os

HELP = "make TFRecords of a dataset in its publisher's layout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("layout", choices=["coco"], help="layout of the files")
    parser.add_argument(
        "--source", required=True, help="folder with annotations/ and the image folders"
    )
    parser.add_argument(
        "--split",
        nargs="+",
        default=["train", "val"],
        help="splits, with or without COCO's year: train, val2017 (train val)",
    )
    parser.add_argument("--output", required=True, help="folder of the records")
    parser.add_argument(
        "--description",
        required=True,
        help="dataset description (textproto): a file, or the name of a shipped one such as shapes",
    )
    parser.add_argument("--shards", type=int, default=0, help="per split (one per 128 images)")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad example; default: leave it out"
    )
    parser.add_argument(
        "--keep-crowd-class",
        action="store_true",
        help="crowd regions keep their class, with instance 0; default: they become unlabeled",
    )


def run(args: argparse.Namespace) -> int:
    """Converts the splits; bad examples are left out, counted and named."""
    from kmax_tf.data.builder import read_description
    from kmax_tf.data.coco_format import read_split
    from kmax_tf.data.convert import ConversionOptions, Report, convert
    from kmax_tf.files import write_atomically

    labels, description = read_description(args.description)
    options = ConversionOptions(
        treat_crowd_as_ignore=not args.keep_crowd_class,
        strict=args.strict,
        num_shards=args.shards,
    )

    def summary(split: str, report: Report) -> str:
        parts = [f"{split}: {report.images} images, {sum(report.segments.values())} segments"]
        if report.kept:
            parts.append(f"{report.kept} shards kept from an earlier run")
        if report.refused:
            parts.append(f"{len(report.refused)} refused")
        return ", ".join(parts)

    for name in args.split:
        split = name[: -len("2017")] if name.endswith("2017") else name
        source = read_split(args.source, f"{split}2017")
        report = convert(source.annotations, args.output, split, labels, options, source.refused)
        print(summary(split, report))
        for example, reason in report.refused:
            print(f"  refused {example}: {reason}")
    write_atomically(os.path.join(args.output, "dataset.textproto"), description)
    print(f"records, dataset.textproto and report.json are in {args.output}")
    return 0
