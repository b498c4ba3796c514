"""`kmax predict`: segments images and writes maps, COCO-style JSON and overlays."""

from __future__ import annotations

import argparse

HELP = "segment images: panoptic PNG, COCO-style JSON and a coloured overlay each"

# What --write may ask for, and the map that each is made of.
_KINDS = {"panoptic": "panoptic", "instances": "panoptic", "semantic": "semantic"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model", required=True, help="folder written by `kmax export`, or folder of a run"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--output", required=True, help="folder of the results")
    parser.add_argument(
        "--write",
        action="append",
        choices=_KINDS,
        help="panoptic (default): ids, their segments and an overlay; semantic: a PNG of class "
        "ids; instances: COCO results, run-length masks with scores (repeatable)",
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="print which rule dropped each mask, and write it as JSON",
    )


def run(args: argparse.Namespace) -> int:
    """Segments each image."""
    from kmax_tf.cli.image_files import read_images
    from kmax_tf.errors import UserError
    from kmax_tf.export.instances import write_instances
    from kmax_tf.export.predictor import load_predictor
    from kmax_tf.export.results import write_reports, write_result, write_semantic
    from kmax_tf.files import check_writable
    from kmax_tf.postprocessing.postprocessor import SEGMENTS
    from kmax_tf.postprocessing.why import format_reports

    check_writable(args.output)
    kinds = args.write or ["panoptic"]
    needed = {_KINDS[kind] for kind in kinds}
    predictor = load_predictor(args.model, sorted(needed))
    labels = predictor.label_space
    for name, image in read_images(args.images, "predict"):
        prediction = predictor(image)
        missing = sorted((needed | (set(SEGMENTS) if args.why else set())) - prediction.keys())
        if missing:
            raise UserError(
                f"{args.model} doesn't give {', '.join(missing)}: export the model again, with "
                "postprocessing.maps that list what is needed"
            )
        if "panoptic" in kinds:
            write_result(args.output, name, image, prediction, labels)
        if "instances" in kinds:
            write_instances(args.output, name, prediction, labels)
        if "semantic" in kinds:
            write_semantic(args.output, name, prediction["semantic"], labels)
        if args.why:
            reports = write_reports(args.output, name, prediction, labels)
            print(f"{name}\n{format_reports(reports)}")
    print(f"results in {args.output}")
    return 0
