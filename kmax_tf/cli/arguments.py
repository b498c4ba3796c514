"""Arguments that several sub-commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)

CONFIG_HELP = "experiment file; one that isn't there is looked for among the shipped configs"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds --config and --set, which give `args.config` and the list `args.overrides`."""
    parser.add_argument("--config", required=True, metavar="FILE", help=CONFIG_HELP)
    add_overrides(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite, which `kmax` acts upon."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files that are in the way, though this command didn't write them",
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """Adds --runner and --beam-flags."""
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


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds --set, repeatable, which gives the list `args.overrides`."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="PATH.TO.FIELD=VALUE",
        help="change a field of the experiment (repeatable)",
    )


def positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    """Returns what reads a number above 0."""

    def read(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            number = kind("0")
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"'{text}' is to be a number above 0")
        return number

    return read
