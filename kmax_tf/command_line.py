"""What all commands share: quiet libraries, and a user's error as one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from kmax_tf.errors import UserError
from kmax_tf.processor import prefer_onednn


def quiet_libraries() -> None:
    """Silences what TensorFlow and Google's packages say at import that no user can act on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    # For the processes that a command starts; the module must be named whole here.
    noisy = "ignore::FutureWarning:google.api_core._python_version_support"
    os.environ.setdefault("PYTHONWARNINGS", noisy)


def error_line(program: str, error: UserError) -> str:
    """Returns the line that tells a user's error."""
    # Libraries on the way may have added a context of their own to what str() gives.
    return f"{program}: error: {error.args[0] if error.args else error}"


def run_app(main: Callable[[list[str]], None]) -> None:
    """Runs the main function of a script that has absl flags; a user's error exits with 1."""
    from absl import app, logging

    quiet_libraries()
    prefer_onednn()
    logging.set_verbosity(logging.WARNING)
    try:
        app.run(main)
    except UserError as error:
        program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        sys.exit(error_line(program, error))
