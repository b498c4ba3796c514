"""`kmax make-shapes`: draws the laptop-sized dataset "shapes" as COCO panoptic files."""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments
from kmax_tf.wording import count_of

HELP = "draw the laptop-sized dataset 'shapes' as COCO panoptic files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("--output", required=True, help="folder of the new dataset")
    parser.add_argument("--train", type=int, default=2000, help="training images (%(default)s)")
    parser.add_argument("--val", type=int, default=200, help="held-out images (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all images (%(default)s)")
    parser.add_argument(
        "--size", type=int, default=96, help="nominal height and width in pixels (%(default)s)"
    )
    parser.add_argument(
        "--things",
        type=int,
        nargs=2,
        default=(2, 6),
        metavar=("LEAST", "MOST"),
        help="things in an image (2 6)",
    )
    parser.add_argument(
        "--radius",
        type=float,
        nargs=2,
        default=(0.06, 0.28),
        metavar=("LEAST", "MOST"),
        help="of things, as fractions of the image's side (0.06 0.28)",
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Draws the splits train and val."""
    from kmax_tf.conversion.shapes import write_shapes
    from kmax_tf.conversion.shapes_scene import ShapesOptions
    from kmax_tf.files.workers import available_cores

    options = ShapesOptions(
        size=(args.size, args.size),
        seed=args.seed,
        num_things=tuple(args.things),
        radius=tuple(args.radius),
    )
    for split, count in (("train", args.train), ("val", args.val)):
        if count:
            path = write_shapes(args.output, split, count, options, available_cores())
            print(f"{path}: {count_of(count, 'image')}")
    return 0
