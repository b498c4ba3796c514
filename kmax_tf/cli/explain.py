"""`kmax explain`: draws how pixels group around the cluster centers, kMaX block after block."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

HELP = "draw which cluster center each pixel belongs to, kMaX block after block"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        help="folder of a run, or prefix of a checkpoint (an export has no blocks to look into)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"{arguments.CONFIG_HELP}; by default the one in the run's folder",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--output", required=True, help="folder of the pictures")
    parser.add_argument(
        "--blocks",
        type=_numbers,
        metavar="N,N,...",
        help="draw only these blocks, such as 1,3,6 (by default all)",
    )


def run(args: argparse.Namespace) -> int:
    """Draws each image; one that cannot be read is named and counted, the others go on."""
    import io
    import os
    import sys

    from PIL import Image

    from kmax_tf.command_line import error_line
    from kmax_tf.data.images import BadExampleError, read_image
    from kmax_tf.data.progress import Progress
    from kmax_tf.errors import UserError
    from kmax_tf.export.explainer import load_explainer
    from kmax_tf.export.results import result_names
    from kmax_tf.files import check_writable, write_atomically

    check_writable(args.output)
    explainer = load_explainer(args.model, args.config)
    explainer.check_blocks(args.blocks)
    progress = Progress(len(args.images), "explain")
    failures = 0
    for path, name in zip(args.images, result_names(args.images)):
        try:
            image = read_image(path)
        except BadExampleError as error:
            print(error_line("kmax", error), file=sys.stderr)
            failures += 1
        else:
            picture = io.BytesIO()
            Image.fromarray(explainer(image, args.blocks)).save(picture, "PNG")
            write_atomically(os.path.join(args.output, f"{name}_clusters.png"), picture.getvalue())
        progress.advance()
    if failures:
        raise UserError(f"{failures} of {len(args.images)} images could not be read")
    print(f"pictures in {args.output}")
    return 0


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list such as 1,3,6") from None
