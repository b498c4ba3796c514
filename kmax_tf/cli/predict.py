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
    """Segments each image; one that cannot be read is named and counted, the others go on."""
    import sys

    from kmax_tf.command_line import error_line
    from kmax_tf.data.images import BadExampleError, read_image
    from kmax_tf.data.progress import Progress
    from kmax_tf.errors import UserError
    from kmax_tf.export.predictor import load_predictor
    from kmax_tf.export.results import result_names, write_result
    from kmax_tf.files import check_writable

    check_writable(args.output)
    predictor = load_predictor(args.model)
    progress = Progress(len(args.images), "predict")
    failures = 0
    for path, name in zip(args.images, result_names(args.images)):
        try:
            image = read_image(path)
        except BadExampleError as error:
            print(error_line("kmax", error), file=sys.stderr)
            failures += 1
        else:
            write_result(args.output, name, image, predictor(image), predictor.label_space)
        progress.advance()
    if failures:
        raise UserError(f"{failures} of {len(args.images)} images could not be read")
    print(f"results in {args.output}")
    return 0
