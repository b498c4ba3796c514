"""The command `kmax`: finds the sub-command and shows a user's error as one line.

A sub-command is a module of this package with `HELP`, `add_arguments(parser)` and
`run(args) -> int`, the exit status. It imports TensorFlow inside `run`, if at all, so that
`kmax --help` answers at once. (absl's flags, which trainer.py and evaluator.py use, know no
sub-commands: hence argparse here.)
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import kmax_tf
from kmax_tf.cli.command_line import INTERRUPTED, error_line
from kmax_tf.cli.scripts import SCRIPTS, run_script
from kmax_tf.errors import UserError
from kmax_tf.files.ownership import writing_as
from kmax_tf.library_noise import quiet_libraries
from kmax_tf.processor import prefer_onednn

# In the order of `kmax --help`. "make-shapes" is the module make_shapes.
COMMANDS = (
    "doctor",
    "config",
    "models",
    "make-shapes",
    "convert-dataset",
    "inspect-dataset",
    "import-weights",
    "export-weights",
    "export",
    "predict",
    "explain",
    "evaluate-files",
    "demo",
)
_USER_ERROR = 2  # what argparse exits with too


def run() -> None:
    """Runs the command line of this process and exits with its status."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit status.

    Args:
      arguments: what follows `kmax`.
    """
    quiet_libraries()
    prefer_onednn()
    try:
        if arguments and arguments[0] in SCRIPTS:
            return run_script(arguments[0], arguments[1:])
        args = _parser(arguments).parse_args(arguments)
        with writing_as(f"kmax {args.command}", getattr(args, "overwrite", False)):
            status = int(args.run(args))
        sys.stdout.flush()
    except UserError as error:
        print(error_line("kmax", error), file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        print("kmax: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`kmax config FILE | head`) has seen enough; nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kmax", description="Panoptic segmentation with kMaX-DeepLab."
    )
    parser.add_argument("--version", action="version", version=f"kmax_tf {kmax_tf.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, (_, description) in SCRIPTS.items():
        commands.add_parser(name, help=description)
    # Only the module that is asked for is imported; help and errors need the list of all.
    named = [name for name in COMMANDS if name in arguments[:1]]
    for name in named or COMMANDS:
        module: Any = importlib.import_module(f"kmax_tf.cli.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    run()
