"""`kmax serve`: answers requests to an exported model, and shows a page to try it."""

from __future__ import annotations

import argparse
import dataclasses

from kmax_tf.cli import arguments
from kmax_tf.serving.limits import Limits

HELP = "serve an export: TensorFlow Serving's REST paths, and a page to try it"

# Options of limits: what they bound.
_LIMITS = {
    "body": "bytes of a request",
    "pixels": "pixels of the images of a request",
    "images": "images of a request",
    "values": "numbers in a reply",
    "seconds": "seconds from a request to its answer",
    "requests": "requests under way at once",
    "queue": "images that wait for the model",
    "batch": "images that the model is given at once, of one request or of several",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument(
        "--model",
        required=True,
        help="folder that `kmax export` wrote: its newest version, and newer ones as they appear",
    )
    parser.add_argument("--name", default="kmax", help="of the model, in paths (default: kmax)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, for this machine alone; 0.0.0.0 for all)",
    )
    parser.add_argument("--port", type=_port, default=8501, help="default: 8501; 0: any free one")
    for field in dataclasses.fields(Limits):
        parser.add_argument(
            f"--most-{field.name}",
            type=arguments.positive(type(field.default)),
            default=field.default,
            metavar="N",
            help=f"{_LIMITS[field.name]} (default: {field.default:,})",
        )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"'{text}' is to be a number from 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or an interruption."""
    import pathlib

    from kmax_tf.errors import UserError

    try:
        from kmax_tf.serving.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("kmax_tf", "tensorflow")):
            raise
        raise UserError(
            f"the server needs {error.name}, which isn't installed; pip install 'kmax-tf[serve]'"
        ) from error
    limits = {
        field.name: getattr(args, f"most_{field.name}") for field in dataclasses.fields(Limits)
    }
    serve(pathlib.Path(args.model), args.name, (args.host, args.port), Limits(**limits))
    return 0
