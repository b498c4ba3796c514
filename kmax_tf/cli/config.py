"""`kmax config`: checks an experiment and prints it, resolved.

Bases, dataset file and overrides are merged in; what isn't printed has its default in protos/.
"""

from __future__ import annotations

import argparse

from kmax_tf.cli import arguments

HELP = "check an experiment and print it, resolved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("config", metavar="FILE", help=arguments.CONFIG_HELP)
    arguments.add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the experiment as a textproto."""
    from kmax_tf.config import experiment_text, load_experiment

    print(experiment_text(load_experiment(args.config, args.overrides)), end="")
    return 0
