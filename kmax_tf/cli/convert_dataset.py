"""`kmax convert-dataset`: makes TFRecords of a published dataset or of your own images."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from kmax_tf.conversion.convert import Report, Runner
    from kmax_tf.labels import LabelSpace

from kmax_tf.cli import arguments
from kmax_tf.cli.dataset_sources import OWN_OPTIONS, READ_AS, find_source
from kmax_tf.wording import count_of

HELP = "make TFRecords of a published dataset or of your own images"
_SOURCE_HELP = {
    "coco": "COCO panoptic: folder with annotations/, train2017/ and val2017/",
    "cityscapes": "Cityscapes: folder with leftImg8bit/ and gtFine/",
    "ade20k": "ADE20K panoptic: folder with images/ and ade20k_panoptic_train.json",
    "coco-format": "your own images with annotations in COCO panoptic format",
    "coco-instances": "your own images with COCO instances, as annotation tools export them",
    "id-maps": "your own images with a map of instance ids each: PNG, TIFF or NPY",
    "masks": "your own images with a PNG of classes each, or a PNG a segment",
    "datumaro": "your own images in any format that Datumaro reads (pip install "
    "'kmax-tf[datumaro]')",
    "auto": "your own images with any of these: says what the folder holds, and converts it",
}
# What these options say. Defaults that are of layouts.TreePatterns aren't here, since it imports
# TensorFlow.
_OPTIONS: dict[str, dict[str, Any]] = {
    "json": {"help": "annotations, in the source folder (annotations/panoptic_{split}.json)"},
    "maps": {"help": "folder of PNGs (the JSON's name without .json)"},
    "images": {"help": "folder of images ({split}, images/{split} or images, whichever is there)"},
    "class": {"metavar": "NAME", "dest": "only", "help": "of all ids"},
    "classes": {"help": "list of classes (classes.csv in the source folder)"},
    "stuff": {
        "nargs": "*",
        "metavar": "CLASS",
        "help": "classes that are stuff, all others are things; default: as the labels say, or "
        "things",
    },
    "background": {
        "metavar": "CLASS",
        "help": "stuff class of what no mask covers (without: that is unlabeled)",
    },
    "overlaps": {
        "choices": ["small", "order"],
        "help": "where masks overlap, the smaller one is seen (default), or the later in the file",
    },
    "no_crowd": {
        "action": "store_true",
        "default": None,
        "help": "what is marked as a crowd region is an instance: CVAT and Datumaro mark all masks "
        "that are no polygons (default where all are marked)",
    },
    "components": {
        "nargs": "*",
        "metavar": "CLASS",
        "help": "things whose connected regions are an instance each, in pictures of classes "
        "(all); of the others, an image has one instance",
    },
    "min_area": {"type": int, "help": "pixels; smaller regions become unlabeled (1)"},
}
# Examples named in the terminal.
_MOST_REFUSED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command for each layout, and its arguments."""
    layouts = parser.add_subparsers(metavar="LAYOUT", dest="layout", required=True)
    for name, description in _SOURCE_HELP.items():
        layout = layouts.add_parser(name, help=description, description=description)
        _add_common(layout)
        if name in (*OWN_OPTIONS, "datumaro", "auto"):
            _add_own(layout)
        for option, says in _OPTIONS.items():
            fitting = [of for of, options in OWN_OPTIONS.items() if option in options]
            if name in (*fitting, "auto") or (name == "datumaro" and READ_AS in fitting):
                layout.add_argument(f"--{option.replace('_', '-')}", **says)
        if name == "datumaro":
            layout.add_argument(
                "--format", dest="of_datumaro", metavar="NAME", help="as Datumaro has it (detected)"
            )
        if name == "auto":
            layout.add_argument(
                "--as", dest="reading", choices=[*OWN_OPTIONS], help="where several can be"
            )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="folder of the dataset")
    parser.add_argument("--output", required=True, help="folder of the records")
    parser.add_argument(
        "--split", nargs="+", help="which to convert (published: train val; yours: all there are)"
    )
    parser.add_argument(
        "--description",
        help="dataset description: a file, or the name of a shipped one such as shapes "
        "(published: their own; yours: made from the list of classes)",
    )
    arguments.add_overwrite(parser)
    parser.add_argument("--shards", type=int, default=0, help="per split (one per 128 images)")
    parser.add_argument("--workers", type=int, default=0, help="processes (one a core)")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad example; default: leave it out"
    )
    parser.add_argument(
        "--keep-crowd-class",
        action="store_true",
        help="crowd regions of the training split keep their class, with instance 0, as those of "
        "others do; default: they become unlabeled there",
    )
    arguments.add_runner(parser)


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="of the dataset (the name of the source folder)")
    parser.add_argument(
        "--hold-out",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the images for evaluation, where there is one split only (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another one holds out others (%(default)s)"
    )
    parser.add_argument(
        "--group-by",
        default="",
        metavar="folder|PATTERN",
        help="hold out groups of images, such as all frames of a camera: those that share their "
        "folder, or what a regular expression finds in their path",
    )


def run(args: argparse.Namespace) -> int:
    """Converts the splits; bad examples are left out, counted and named."""
    import dataclasses

    from kmax_tf.conversion.convert import ConversionOptions, convert
    from kmax_tf.conversion.descriptions import with_splits
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.writing import check_writable, write_atomically
    from kmax_tf.records.label_checks import doubts_about
    from kmax_tf.records.report import read_report

    check_writable(args.output)
    source = find_source(args)
    names = (
        "dataset.textproto",
        "report.json",
        "report.html",
        *(f"{name}.sha256" for name in source.splits),
    )
    check_free(os.path.join(args.output, name) for name in names)
    options = ConversionOptions(
        strict=args.strict,
        num_shards=args.shards,
        workers=args.workers,
        runner=_runner(args),
    )
    reports = {}
    for name, split in source.splits.items():
        # Metrics have rules for crowd regions, by which files of predictions are measured, too.
        ignored = name.startswith("train") and not args.keep_crowd_class
        of_split = dataclasses.replace(options, treat_crowd_as_ignore=ignored)
        report = convert(
            split.annotations, args.output, name, source.labels, of_split, split.refused
        )
        _print_report(name, report, source.labels)
        reports[name] = report
        # After each split, since the next may stop.
        write_atomically(
            os.path.join(args.output, "dataset.textproto"),
            with_splits(source.description, read_report(args.output)),
        )
    _write_report_page(args.output, source.labels, reports)
    statistics = {name: report.statistics for name, report in reports.items()}
    for doubt in doubts_about(statistics, source.labels):
        print(f"warning: {doubt}")
    if args.layout in ("coco-instances", "id-maps") and not args.background:
        print(
            "warning: what no mask covers is unlabeled, where a model learns nothing and may see "
            "anything; --background NAME makes it a class"
        )
    if args.layout in OWN_OPTIONS:
        _write_experiment(args.output, source.labels, reports)
    left_out = sum(len(report.refused) for report in reports.values())
    if left_out:
        where = os.path.join(args.output, "report.json")
        what = "item" if args.layout in ("coco-instances", "id-maps") else "example"
        print(f"warning: {count_of(left_out, what)} left out; the reasons are in {where}")
    return 0


def _runner(args: argparse.Namespace) -> Optional[Runner]:
    if args.runner != "beam":
        return None
    from kmax_tf.conversion.beam_runner import beam_runner

    return beam_runner(args.beam_flags)


def _print_report(name: str, report: Report, labels: LabelSpace) -> None:
    from kmax_tf.records.statistics import segments_table, sizes_line

    segments = sum(report.segments.values())
    parts = [f"{name}: {count_of(report.images, 'image')}, {count_of(segments, 'segment')}"]
    if report.kept:
        parts.append(f"{count_of(report.kept, 'shard')} kept from an earlier run")
    if report.refused:
        parts.append(f"{len(report.refused)} refused")
    print(", ".join(parts))
    print(f"  {sizes_line(report.statistics)}")
    if report.segments:
        for line in segments_table(report.statistics, labels):
            print(f"  {line}")
    for example, reason in report.refused[:_MOST_REFUSED]:
        print(f"  refused {example}: {reason}")
    if len(report.refused) > _MOST_REFUSED:
        print(f"  and {len(report.refused) - _MOST_REFUSED} more: report.json names them all")


def _write_report_page(output: str, labels: LabelSpace, reports: dict[str, Report]) -> None:
    """Writes report.html, and into report.json what is known of all splits together."""
    from kmax_tf.conversion.convert import find_equal_images, note_equal_images
    from kmax_tf.conversion.dataset_page import dataset_page, page_of_report
    from kmax_tf.files.writing import write_atomically
    from kmax_tf.records.report import read_report

    equal = find_equal_images(reports)
    note_equal_images(output, equal)
    pages = {name: page_of_report(entry) for name, entry in read_report(output).items()}
    page = dataset_page(f"Conversion of {labels.name}", pages, labels)
    write_atomically(os.path.join(output, "report.html"), page)
    print(f"records, dataset.textproto, report.json and report.html are in {output}")
    for name, images in equal.items():
        image, other, there = images[0]
        print(
            f"warning: {count_of(len(images), 'image')} of {name} are also in other splits, such "
            f"as {image} ({there} of {other}): scores on them say nothing; report.html lists them"
        )


def _write_experiment(output: str, labels: LabelSpace, reports: dict[str, Report]) -> None:
    from kmax_tf.conversion.experiment_file import new_experiment_text
    from kmax_tf.files.reading import is_file
    from kmax_tf.files.writing import write_atomically

    path = os.path.join(output, "experiment.textproto")
    if is_file(path):
        print(f"{path} is there already and was kept")
        return
    statistics = {split: report.statistics for split, report in reports.items()}
    has_stuff = labels.num_things < labels.num_classes
    write_atomically(path, new_experiment_text(labels.name, output, statistics, has_stuff))
    command = f"kmax train --config={shlex.quote(path)} --model_dir=runs/mine"
    print(f"{path} trains on them: {command}")
