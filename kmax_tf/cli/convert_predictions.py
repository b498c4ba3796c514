"""`kmax convert-predictions`: turns what `kmax predict` wrote into other tools' formats.

An image that can't be converted is named, and the others go on.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmax_tf.interchange.polygons import PolygonMaker
    from kmax_tf.interchange.predictions import Predictions

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of, some

HELP = "turn predictions into other tools' formats, and tell what became of them there"
_FORMATS = {
    "coco-panoptic": "COCO panoptic: a JSON and PNGs of ids",
    "coco-instances": "COCO instances: masks of images as annotations (CVAT, FiftyOne, Roboflow)",
    "coco-results": "COCO results: a list of masks with scores, for pycocotools' loadRes",
    "label-studio": "tasks for Label Studio, with predictions to correct",
    "datumaro": "any format that Datumaro writes (pip install 'kmax-tf[datumaro]')",
}
_COMPARE = "compare labels that came back with those that were sent: which are a model's"
_DRAWS = ("coco-instances", "datumaro")
_MOST_REFUSED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command for each format, and its arguments."""
    formats = parser.add_subparsers(metavar="FORMAT", dest="format", required=True)
    for name, description in _FORMATS.items():
        _add_format(formats.add_parser(name, help=description, description=description), name)
    compare = formats.add_parser("compare", help=_COMPARE, description=_COMPARE)
    compare.add_argument("--sent", required=True, metavar="JSON", help="of coco-instances")
    compare.add_argument(
        "--returned", required=True, metavar="JSON", help="COCO instances, or Label Studio's JSON"
    )
    compare.add_argument("--output", required=True, metavar="JSON", help="with each label's origin")
    arguments.add_overwrite(compare)


def _add_format(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="PATH",
        help="predictions.json of `kmax predict`, or its folder",
    )
    needed = name != "coco-results"
    parser.add_argument(
        "--images",
        required=needed,
        default="",
        metavar="FOLDER",
        help="the images that were predicted",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="of what is written")
    parser.add_argument(
        "--min-score", type=float, default=0.0, help="leaves out what has a lower score (0)"
    )
    segments = parser.add_mutually_exclusive_group()
    things = name == "coco-results"
    segments.add_argument(
        "--things-only",
        action="store_true",
        default=things,
        help="leave out stuff (default)" if things else "leave out stuff",
    )
    if things:
        segments.add_argument(
            "--with-stuff", dest="things_only", action="store_false", help="stuff, too"
        )
    if name in _DRAWS:
        parser.add_argument(
            "--polygons",
            type=float,
            nargs="?",
            const=1.0,
            metavar="PIXELS",
            help="polygons in place of run lengths, which may leave the masks' outlines by PIXELS "
            "(1; 0: exact, along the pixels)",
        )
    if name == "label-studio":
        parser.add_argument(
            "--image-url",
            default="",
            metavar="URL",
            help="where Label Studio finds an image; {path} stands for its path below the images' "
            "folder (/data/local-files/?d={path})",
        )
    if name == "datumaro":
        parser.add_argument(
            "--format", dest="of_datumaro", required=True, metavar="NAME", help="as Datumaro has it"
        )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Converts the predictions, or compares."""
    if args.format == "compare":
        return _compare(args)
    from kmax_tf.errors import UserError
    from kmax_tf.files.writing import check_writable
    from kmax_tf.interchange.polygons import PolygonMaker
    from kmax_tf.interchange.predictions import Predictions, Selection

    selection = Selection(args.things_only, args.min_score)
    predictions = Predictions(args.predictions, args.images, selection)
    tolerance = getattr(args, "polygons", None)
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise UserError(f"--polygons takes 0 to 100 pixels, not {tolerance:g}")
    polygons = None if tolerance is None else PolygonMaker(tolerance)
    check_writable(args.output)
    if args.format == "datumaro":
        return _write_with_datumaro(args, predictions, polygons)
    written, where = _write(args, predictions, polygons)
    return _tell(predictions, polygons, f"{count_of(written, 'image')}", where)


def _tell(predictions: Predictions, polygons: PolygonMaker | None, written: str, where: str) -> int:
    """Says what was written and what wasn't; returns the exit status."""
    _print_refused(predictions.refused)
    if polygons is not None and polygons.worst[1]:
        least, what = polygons.worst
        print(
            f"polygons agree with masks in {polygons.agreement:.2%} of the pixels that either has; "
            f"least, {least:.2%}, for {what}"
        )
    elif polygons is not None:
        print("polygons agree with masks to the pixel")
    left_out = f", {len(predictions.refused)} refused" if predictions.refused else ""
    print(f"{written}{left_out}: {where}")
    return 1 if predictions.refused else 0


def _print_refused(refused: Sequence[tuple[str, str]]) -> None:
    for name, reason in refused[:_MOST_REFUSED]:
        print(f"refused {name}: {reason}")
    if len(refused) > _MOST_REFUSED:
        print(f"and {len(refused) - _MOST_REFUSED} more")


def _write_with_datumaro(
    args: argparse.Namespace, predictions: Predictions, polygons: PolygonMaker | None
) -> int:
    from kmax_tf.interchange.datumaro_export import write_with_datumaro

    name = args.of_datumaro
    written = write_with_datumaro(predictions, args.output, name, polygons)
    status = _tell(predictions, polygons, count_of(written.images, "image"), args.output)
    if written.agreement is None:
        print(f"warning: Datumaro doesn't read what it wrote as {name}, so look at the files")
    elif not written.agreement:
        what = "masks (without --polygons)" if polygons else "polygons (--polygons)"
        print(
            f"warning: {name} holds none of these masks, as Datumaro writes it; try {what}, or "
            "another format"
        )
        return 1
    else:
        print(f"{name}, as Datumaro reads it again, has {written.agreement:.2%} of the pixels")
    return status


def _write(
    args: argparse.Namespace, predictions: Predictions, polygons: PolygonMaker | None
) -> tuple[int, str]:
    """Returns how many images were written, and where."""
    from kmax_tf.files.ownership import check_free

    if args.format == "coco-panoptic":
        from kmax_tf.interchange.coco_panoptic import write_coco_panoptic

        path = os.path.join(args.output, "annotations", "panoptic_predictions.json")
        check_free([path])
        return write_coco_panoptic(predictions, path), path
    if args.format == "label-studio":
        from kmax_tf.interchange.label_studio import IMAGE_URL, write_label_studio

        path, config = (os.path.join(args.output, n) for n in ("tasks.json", "label_config.xml"))
        check_free([path, config])
        url = args.image_url or IMAGE_URL
        return write_label_studio(predictions, path, config, url), path
    from kmax_tf.interchange.coco_instances import write_coco_instances, write_coco_results

    if args.format == "coco-results":
        path = os.path.join(args.output, "results.json")
        check_free([path])
        return write_coco_results(predictions, path), path
    path = os.path.join(args.output, "annotations", "instances_predictions.json")
    check_free([path])
    return write_coco_instances(predictions, path, polygons), path


def _compare(args: argparse.Namespace) -> int:
    from kmax_tf.interchange.origins import compare, write_comparison

    comparison = compare(args.sent, args.returned)
    write_comparison(args.output, comparison)
    _print_refused(comparison.refused)
    if comparison.absent:
        count = count_of(len(comparison.absent), "image")
        print(f"{count} that were sent didn't come back: {some(comparison.absent)}")
    counts = ", ".join(f"{count} {origin}" for origin, count in comparison.counts.items())
    print(f"{counts}, {count_of(comparison.deleted, 'prediction')} deleted: {args.output}")
    return 1 if comparison.refused else 0
