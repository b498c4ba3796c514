"""`kmax predict`: segments images and writes maps, COCO-style JSON and overlays."""

from __future__ import annotations

import argparse

HELP = "segment images: panoptic PNG, COCO-style JSON and a coloured overlay each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model", required=True, help="folder written by `kmax export`, or folder of a run"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--output", required=True, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    """Segments each image."""
    from kmax_tf.cli.image_files import read_images
    from kmax_tf.export.predictor import load_predictor
    from kmax_tf.export.results import write_result
    from kmax_tf.files import check_writable

    check_writable(args.output)
    predictor = load_predictor(args.model)
    for name, image in read_images(args.images, "predict"):
        write_result(args.output, name, image, predictor(image), predictor.label_space)
    print(f"results in {args.output}")
    return 0
