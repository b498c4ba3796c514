"""What `kmax convert-dataset` converts: from its arguments to splits, classes and description."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kmax_tf.conversion.coco_format import Split
    from kmax_tf.labels import LabelSpace

from kmax_tf.wording import count_of, some

# Layouts of people's own images, and the options that only some of them have.
OWN_OPTIONS = {
    "coco-format": ("json", "maps", "images", "stuff"),
    "coco-instances": ("stuff", "background", "overlaps", "no_crowd"),
    "id-maps": ("class", "classes", "stuff", "background"),
    "masks": ("classes", "components", "min_area"),
}
# What Datumaro's formats are read as.
READ_AS = "coco-instances"
# Instances of a class in an image of people's own: more than the 256 of COCO's records; of maps
# of ids, as of cells.
_LABEL_DIVISOR, _LABEL_DIVISOR_OF_IDS = 1000, 100_000
# Test splits have no labels to train on or to measure by.
_PUBLISHED_SPLITS = ("train", "val")


class Conversion(NamedTuple):
    """What to convert: splits by the names of their records, and the description."""

    splits: dict[str, Split]
    labels: LabelSpace
    description: str


def find_source(args: argparse.Namespace) -> Conversion:
    """Finds what to convert; the layout `auto` becomes the one that is found."""
    if args.layout == "auto":
        args.layout = _detected(args)
    if args.layout == "datumaro":
        return _of_datumaro(args)
    return _own(args) if args.layout in OWN_OPTIONS else _published(args)


def _published(args: argparse.Namespace) -> Conversion:
    from kmax_tf.config.dataset import read_description
    from kmax_tf.conversion.layouts import LAYOUTS, plain_name

    labels, description = read_description(args.description or args.layout)
    names = dict.fromkeys(plain_name(name) for name in args.split or _PUBLISHED_SPLITS)
    splits = {name: LAYOUTS[args.layout](args.source, name) for name in names}
    return Conversion(splits, labels, description)


def _own(args: argparse.Namespace) -> Conversion:
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
        found = some(source.splits)
        print(f"warning: --group-by and --seed do nothing, since nothing is held out of {found}")
    return source


def _of_datumaro(args: argparse.Namespace) -> Conversion:
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
    args.name, args.source, args.layout = _name(args), folder, READ_AS
    source = _own(args)
    first, split = next(iter(source.splits.items()))
    split = dataclasses.replace(split, refused=[*split.refused, *found.refused])
    return source._replace(splits={**source.splits, first: split})


def _own_coco_format(args: argparse.Namespace) -> Conversion:
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
    return Conversion(splits, *_described(args, description))


def _own_coco_instances(args: argparse.Namespace) -> Conversion:
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
    return Conversion(splits, *_described(args, description))


def _own_id_maps(args: argparse.Namespace) -> Conversion:
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
    return Conversion(splits, labels, description)


def _detected(args: argparse.Namespace) -> str:
    """Says what a folder holds, and returns the layout that reads it."""
    from kmax_tf.conversion.detection import choose_reading
    from kmax_tf.errors import UserError

    reading = choose_reading(args.source, args.reading)
    fitting = OWN_OPTIONS[reading.layout]
    for option in {name for names in OWN_OPTIONS.values() for name in names} - {*fitting}:
        if getattr(args, "only" if option == "class" else option) is not None:
            raise UserError(
                f"--{option.replace('_', '-')} says nothing of what {args.source} holds: "
                f"{reading.found}"
            )
    print(f"{args.source}: {reading.found}")
    return reading.layout


def _own_masks(args: argparse.Namespace) -> Conversion:
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
    return Conversion(splits, labels, description)


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
