"""What all commands share: a user's error as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from kmax_tf.errors import UserError
from kmax_tf.files.ownership import writing_as
from kmax_tf.library_noise import quiet_libraries
from kmax_tf.processor import prefer_onednn

INTERRUPTED = 130  # the status of what an interruption ended, as shells have it


def error_line(program: str, error: UserError) -> str:
    """Returns the line that tells a user's error."""
    # Libraries on the way may have added a context of their own to what str() gives.
    return f"{program}: error: {error.args[0] if error.args else error}"


def run_app(main: Callable[[list[str]], None]) -> None:
    """Runs the main function of a script that has absl flags; a user's error exits with 1."""
    from absl import app, flags, logging

    quiet_libraries()
    prefer_onednn()
    logging.set_verbosity(logging.WARNING)
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    overwrite = flags.DEFINE_bool(
        "overwrite",
        False,
        "replace files that are in the way, though this program didn't write them",
    )

    def look_after_files(arguments: list[str]) -> None:
        with writing_as(program, overwrite.value):
            main(arguments)

    try:
        app.run(look_after_files)
    except UserError as error:
        sys.exit(error_line(program, error))
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
