"""`kmax explain`: draws how pixels group around the cluster centers, kMaX block after block."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments, image_files, images_in_turn

HELP = "draw which cluster center each pixel belongs to, kMaX block after block"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        help="folder of a run, or prefix of a checkpoint (of an export, kmax serve shows it)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"{arguments.CONFIG_HELP}; by default the one in the run's folder",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=image_files.HELP)
    parser.add_argument("--output", required=True, help="folder of the pictures")
    parser.add_argument(
        "--blocks",
        type=_numbers,
        metavar="N,N,...",
        help="draw only these blocks, such as 1,3,6 (by default all)",
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Draws each image."""
    import os

    from kmax_tf.export.explainer import load_explainer
    from kmax_tf.files.images import write_png
    from kmax_tf.files.writing import check_writable

    images = image_files.find_images(args.images)
    files = {image: os.path.join(args.output, f"{image.name}_clusters.png") for image in images}
    check_writable(args.output)
    image_files.check_outputs(list(files.values()), images)
    explainer = load_explainer(args.model, args.config)
    explainer.check_blocks(args.blocks)
    reading = images_in_turn.ImagesInTurn(images, "explain")
    for image, pixels in reading:
        write_png(files[image], explainer(pixels, args.blocks))
    return reading.end(f"pictures in {args.output}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list such as 1,3,6") from None
