"""The command `kmax`: finds the sub-command and shows a user's error as one line.

A sub-command is a module of this package with `HELP`, `add_arguments(parser)` and
`run(args) -> int`, the exit status. It imports TensorFlow inside `run`, if at all, so that
`kmax --help` answers at once. absl's own flags, such as --verbosity and --flagfile, go with all.

Exit statuses: 0 done; 1 what was checked is wrong (doctor, inspect-dataset), some images could not
be read (predict, explain), or a stage of the demo failed; 2 a user's error; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import absl.logging  # noqa: F401 (it defines flags)
from absl import flags
from absl.flags import argparse_flags

from kmax_tf.errors import UserError, error_line
from kmax_tf.files.ownership import writing_as
from kmax_tf.library_noise import quiet_libraries
from kmax_tf.processor import prefer_onednn
from kmax_tf.version import __version__

# In the order of `kmax --help`. "make-shapes" is the module make_shapes.
COMMANDS = (
    "doctor",
    "config",
    "models",
    "make-shapes",
    "convert-dataset",
    "inspect-dataset",
    "train",
    "evaluate",
    "import-weights",
    "export-weights",
    "export",
    "predict",
    "convert-predictions",
    "explain",
    "serve",
    "evaluate-files",
    "demo",
)
# As whom these write files: the folders of all runs say so.
_WRITERS = {"train": "trainer", "evaluate": "evaluator"}
_USER_ERROR = 2  # what argparse exits with too
_INTERRUPTED = 130  # what shells say of a command that an interruption ended


def run() -> None:
    """Runs the command line of this process and exits with its status."""
    sys.exit(main(sys.argv[1:]))


def run_as_script(command: str) -> None:
    """Runs a sub-command as the script that this process was started with, and exits."""
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    sys.exit(main([command, *sys.argv[1:]], program))


def main(arguments: Sequence[str], program: str = "kmax") -> int:
    """Runs a command line and returns its exit status.

    Args:
      arguments: a sub-command, and what follows it.
      program: how the user calls it; a sub-command may have a script of its own.
    """
    quiet_libraries()
    prefer_onednn()
    try:
        args = _parser(arguments, program).parse_args(arguments)
        writer = _WRITERS.get(args.command, f"kmax {args.command}")
        with writing_as(writer, getattr(args, "overwrite", False)):
            status = int(args.run(args))
        sys.stdout.flush()
    except (UserError, flags.Error) as error:
        print(error_line(program, error), file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (`kmax config FILE | head`) has seen enough; nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser(arguments: Sequence[str], program: str) -> argparse.ArgumentParser:
    parser = argparse_flags.ArgumentParser(
        prog="kmax", description="Panoptic segmentation with kMaX-DeepLab."
    )
    parser.add_argument("--version", action="version", version=f"kmax_tf {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    # Only the module that is asked for is imported; help and errors need the list of all.
    named = [name for name in COMMANDS if name in arguments[:1]]
    for name in named or COMMANDS:
        module: Any = importlib.import_module(f"kmax_tf.cli.{name.replace('-', '_')}")
        prog = f"kmax {name}" if program == "kmax" else f"{program}.py"
        command = commands.add_parser(name, prog=prog, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    if not named and arguments and not arguments[0].startswith("-"):
        from kmax_tf.config.textproto import nearest

        parser.error(f"no command '{arguments[0]}'; {nearest(arguments[0], COMMANDS)}")
    return parser


if __name__ == "__main__":
    run()
