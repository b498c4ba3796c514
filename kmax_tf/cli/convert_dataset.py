"""`kmax convert-dataset`: makes TFRecords of a published dataset or of your own images."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kmax_tf.conversion.coco_format import Split
    from kmax_tf.conversion.convert import Report
    from kmax_tf.labels import LabelSpace

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of, some_of

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
# Those of people's own images, and the options that only some of them have.
_OWN_OPTIONS = {
    "coco-format": ("json", "maps", "images", "stuff"),
    "coco-instances": ("stuff", "background", "overlaps", "no_crowd"),
    "id-maps": ("class", "classes", "stuff", "background"),
    "masks": ("classes", "components", "min_area"),
}
# What Datumaro's formats are read as.
_READ_AS = "coco-instances"
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
# Instances of a class in an image of people's own: more than the 256 of COCO's records; of maps
# of ids, as of cells.
_LABEL_DIVISOR, _LABEL_DIVISOR_OF_IDS = 1000, 100_000
# Examples named in the terminal.
_MOST_REFUSED = 20
# Test splits have no labels to train on or to measure by.
_PUBLISHED_SPLITS = ("train", "val")


class _Conversion(NamedTuple):
    """What to convert: splits by the names of their records, and the description."""

    splits: dict[str, Split]
    labels: LabelSpace
    description: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command for each layout, and its arguments."""
    layouts = parser.add_subparsers(metavar="LAYOUT", dest="layout", required=True)
    for name, description in _SOURCE_HELP.items():
        layout = layouts.add_parser(name, help=description, description=description)
        _add_common(layout)
        if name in (*_OWN_OPTIONS, "datumaro", "auto"):
            _add_own(layout)
        for option, says in _OPTIONS.items():
            fitting = [of for of, options in _OWN_OPTIONS.items() if option in options]
            if name in (*fitting, "auto") or (name == "datumaro" and _READ_AS in fitting):
                layout.add_argument(f"--{option.replace('_', '-')}", **says)
        if name == "datumaro":
            layout.add_argument(
                "--format", dest="of_datumaro", metavar="NAME", help="as Datumaro has it (detected)"
            )
        if name == "auto":
            layout.add_argument(
                "--as", dest="reading", choices=[*_OWN_OPTIONS], help="where several can be"
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
    parser.add_argument(
        "--runner",
        choices=["local", "beam"],
        default="local",
        help="beam: as an Apache Beam pipeline (pip install kmax-tf[beam]); default: local",
    )
    parser.add_argument(
        "--beam-flags",
        default="",
        metavar='"--runner=DataflowRunner ..."',
        help="options of the pipeline; without any, Beam's direct runner works on this machine",
    )


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
    source = _find_source(args)
    names = (
        "dataset.textproto",
        "report.json",
        "report.html",
        *(f"{name}.sha256" for name in source.splits),
    )
    check_free(os.path.join(args.output, name) for name in names)
    runner = None
    if args.runner == "beam":
        from kmax_tf.conversion.beam_runner import beam_runner

        runner = beam_runner(args.beam_flags)
    options = ConversionOptions(
        strict=args.strict,
        num_shards=args.shards,
        workers=args.workers,
        runner=runner,
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
    if args.layout in _OWN_OPTIONS:
        _write_experiment(args.output, source.labels, reports)
    left_out = sum(len(report.refused) for report in reports.values())
    if left_out:
        where = os.path.join(args.output, "report.json")
        what = "item" if args.layout in ("coco-instances", "id-maps") else "example"
        print(f"warning: {count_of(left_out, what)} left out; the reasons are in {where}")
    return 0


def _find_source(args: argparse.Namespace) -> _Conversion:
    if args.layout == "datumaro":
        return _of_datumaro(args)
    if args.layout == "auto":
        args.layout = _detected(args)
    return _own(args) if args.layout in _OWN_OPTIONS else _published(args)


def _published(args: argparse.Namespace) -> _Conversion:
    from kmax_tf.config.dataset import read_description
    from kmax_tf.conversion.layouts import LAYOUTS, plain_name

    labels, description = read_description(args.description or args.layout)
    names = dict.fromkeys(plain_name(name) for name in args.split or _PUBLISHED_SPLITS)
    splits = {name: LAYOUTS[args.layout](args.source, name) for name in names}
    return _Conversion(splits, labels, description)


def _own(args: argparse.Namespace) -> _Conversion:
    from kmax_tf.conversion.layouts import hold_out
    from kmax_tf.errors import UserError

    if not 0 <= args.hold_out < 1:
        raise UserError(f"--hold-out must be a share from 0 to below 1, not {args.hold_out}")
    read = {
        "coco-format": _own_coco_format,
        "coco-instances": _own_coco_instances,
        "id-maps": _own_id_maps,
        "masks": _own_masks,
    }
    source = read[args.layout](args)
    if list(source.splits) == ["train"] and args.hold_out and not args.split:
        (split,) = source.splits.values()
        if len(split.annotations) > 1:
            kept, held_out = hold_out(split, args.hold_out, args.seed, args.group_by)
            return source._replace(splits={"train": kept, "val": held_out})
    if args.group_by or args.seed:
        found = some_of([*source.splits])
        print(f"warning: --group-by and --seed do nothing, since nothing is held out of {found}")
    return source


def _of_datumaro(args: argparse.Namespace) -> _Conversion:
    """Lets Datumaro write COCO instances beside the records, and reads these."""
    import dataclasses

    from kmax_tf.errors import UserError
    from kmax_tf.files.writing import is_remote
    from kmax_tf.interchange.datumaro_import import write_as_coco

    if is_remote(args.output):
        raise UserError("Datumaro writes to this machine only; give a local folder as --output")
    folder = os.path.join(args.output, ".datumaro")
    found = write_as_coco(args.source, args.of_datumaro, folder)
    print(f"{args.source}: {found.sentence}")
    args.name, args.source, args.layout = _name(args), folder, _READ_AS
    source = _own(args)
    first, split = next(iter(source.splits.items()))
    split = dataclasses.replace(split, refused=[*split.refused, *found.refused])
    return source._replace(splits={**source.splits, first: split})


def _own_coco_format(args: argparse.Namespace) -> _Conversion:
    from kmax_tf.conversion.descriptions import (
        classes_of_categories,
        description_text,
        with_kinds,
    )
    from kmax_tf.conversion.layouts import TreePatterns, find_splits, plain_name, read_tree

    given = {name: getattr(args, name) for name in ("json", "maps", "images")}
    patterns = TreePatterns(**{name: value for name, value in given.items() if value is not None})
    there = find_splits(args.source, patterns)
    # "train" stands for train2017 too.
    found = {plain_name(name): name for name in there}
    names = [
        name if name in there else found.get(plain_name(name), name) for name in args.split or there
    ]
    _check_names(names)
    splits = {plain_name(name): read_tree(args.source, name, patterns) for name in names}
    description = ""
    if not args.description:
        first = next(iter(splits.values()))
        where = patterns.json.replace("{split}", names[0])
        entries = classes_of_categories(first.categories, os.path.join(args.source, where))
        segments = (a.segments for split in splits.values() for a in split.annotations)
        entries = with_kinds(entries, args.stuff, segments)
        description = description_text(_name(args), entries, _LABEL_DIVISOR)
    return _Conversion(splits, *_described(args, description))


def _own_coco_instances(args: argparse.Namespace) -> _Conversion:
    from kmax_tf.conversion.coco_instances import classes_of_instances, most_instances
    from kmax_tf.conversion.descriptions import description_text
    from kmax_tf.conversion.instance_layouts import (
        find_instance_splits,
        pair_splits,
        read_instance_splits,
        record_split,
    )
    from kmax_tf.conversion.painting import PaintingRules
    from kmax_tf.errors import UserError

    found = find_instance_splits(args.source)
    if not found:
        raise UserError(f"no COCO instances in {args.source} where tools put them; see the guide")
    if args.split:
        names = [split.name for split in found]
        wanted = [record_split(name) for name in args.split]
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise UserError(f"there is no split {unknown[0]}; these are: {', '.join(names)}")
        found = [split for split in found if split.name in wanted]
    files = read_instance_splits(found, bool(args.no_crowd))
    for file in files:
        crowds = count_of(file.crowds, "annotation")
        if file.crowds and file.crowds_are_instances:
            print(f"{crowds} of {file.path}, marked as crowd regions, are instances")
        elif file.crowds:
            print(
                f"warning: {crowds} of {file.path} are crowd regions, which nothing is learnt of; "
                "if they are single things, as CVAT and Datumaro mark masks, give --no-crowd"
            )
    rules = PaintingRules(args.overlaps or "small", args.background or "")
    classes, unused = classes_of_instances(files, args.stuff, rules.background)
    splits = pair_splits(found, files, rules, unused)
    divisor = max(_LABEL_DIVISOR, 10 ** len(str(most_instances(files))))
    description = "" if args.description else description_text(_name(args), classes, divisor)
    return _Conversion(splits, *_described(args, description))


def _own_id_maps(args: argparse.Namespace) -> _Conversion:
    from kmax_tf.conversion.class_table import read_class_table
    from kmax_tf.conversion.descriptions import description_text, with_kinds
    from kmax_tf.conversion.id_maps import find_id_table, read_id_split
    from kmax_tf.conversion.instance_layouts import record_split
    from kmax_tf.conversion.mask_classes import MaskRules
    from kmax_tf.conversion.masks_format import find_mask_splits
    from kmax_tf.conversion.painting import PaintingRules
    from kmax_tf.files.reading import is_file
    from kmax_tf.panoptic.entries import CategoryEntry

    path = args.classes or os.path.join(args.source, "classes.csv")
    entries, map_rules = [], MaskRules()
    if args.classes or is_file(path):
        table = read_class_table(path)
        entries, map_rules = table.classes, table.mask_rules
    ids = find_id_table(args.source, args.only, map_rules, [entry.name for entry in entries])
    known = {entry.name for entry in entries}
    for name in (*ids.names, *filter(None, [args.background])):
        if name not in known and (not entries or name == args.background or args.only):
            number = max([entry.id for entry in entries], default=0) + 1
            entries.append(CategoryEntry(number, name, name != args.background))
    if args.stuff is not None:
        entries = with_kinds(entries, [*args.stuff, *filter(None, [args.background])], ())
    description = description_text(_name(args), entries, _LABEL_DIVISOR_OF_IDS)
    labels, description = _described(args, "" if args.description else description)
    names = args.split or find_mask_splits(args.source)
    rules = PaintingRules(background=args.background or "")
    splits = {record_split(name): read_id_split(args.source, name, ids, rules) for name in names}
    return _Conversion(splits, labels, description)


def _detected(args: argparse.Namespace) -> str:
    """Says what a folder holds, and returns the layout that reads it."""
    from kmax_tf.conversion.detection import choose_reading
    from kmax_tf.errors import UserError

    reading = choose_reading(args.source, args.reading)
    fitting = _OWN_OPTIONS[reading.layout]
    for option in {name for names in _OWN_OPTIONS.values() for name in names} - {*fitting}:
        if getattr(args, "only" if option == "class" else option) is not None:
            raise UserError(
                f"--{option.replace('_', '-')} says nothing of what {args.source} holds: "
                f"{reading.found}"
            )
    print(f"{args.source}: {reading.found}")
    return reading.layout


def _own_masks(args: argparse.Namespace) -> _Conversion:
    import dataclasses

    from kmax_tf.config.dataset import colored_classes
    from kmax_tf.conversion.class_table import read_class_table
    from kmax_tf.conversion.descriptions import description_text
    from kmax_tf.conversion.layouts import plain_name
    from kmax_tf.conversion.mask_classes import MaskRules
    from kmax_tf.conversion.masks_format import find_mask_splits, find_strays, read_mask_split
    from kmax_tf.errors import UserError

    description, rules = "", MaskRules()
    if not args.description:
        table = read_class_table(args.classes or os.path.join(args.source, "classes.csv"))
        rules = table.mask_rules
        description = description_text(_name(args), table.classes, _LABEL_DIVISOR)
    labels, description = _described(args, description)
    if args.description:
        rules = MaskRules(colored=colored_classes(description))
    things = [category.name for category in labels.classes if category.thing]
    unknown = set(args.components or ()) - set(things)
    if unknown:
        raise UserError(f"--components {min(unknown)} is no thing class; these are: {things}")
    components = tuple(things if args.components is None else sorted(args.components))
    rules = dataclasses.replace(rules, components=components, min_area=args.min_area or 1)
    names = args.split or find_mask_splits(args.source)
    _check_names(names)
    splits = {
        plain_name(name) or "train": read_mask_split(args.source, name, rules) for name in names
    }
    if not args.split:
        first, split = next(iter(splits.items()))
        strays = find_strays(args.source, names)
        splits[first] = dataclasses.replace(split, refused=[*split.refused, *strays])
    return _Conversion(splits, labels, description)


def _check_names(names: list[str]) -> None:
    """Raises UserError where the records of two splits would have one name."""
    from kmax_tf.conversion.layouts import plain_name
    from kmax_tf.errors import UserError

    of_records: dict[str, str] = {}
    for name in names:
        other = of_records.setdefault(plain_name(name), name)
        if other != name:
            raise UserError(
                f"the splits {other} and {name} would both be called {plain_name(name)}; convert "
                "one of them (--split), or rename one"
            )


def _described(args: argparse.Namespace, description: str) -> tuple[LabelSpace, str]:
    """Returns the labels and the description: that of the arguments, or one that was made."""
    from kmax_tf.config.dataset import read_description
    from kmax_tf.files.writing import write_atomically

    if args.description:
        return read_description(args.description)
    path = os.path.join(args.output, "dataset.textproto")
    write_atomically(path, description)
    return read_description(path)


def _name(args: argparse.Namespace) -> str:
    return args.name or os.path.basename(os.path.abspath(args.source)) or "mine"


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
