"""Image files that a sub-command works through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def read_images(paths: Sequence[str], command: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a name for the results and the image [H, W, 3] uint8 of each file.

    One that cannot be read is told at once, and the others go on.

    Args:
      paths: of the files.
      command: whose progress is shown.

    Raises:
      UserError: in the end, where some could not be read.
    """
    import sys

    from kmax_tf.command_line import error_line
    from kmax_tf.data.images import BadExampleError, read_image
    from kmax_tf.data.progress import Progress
    from kmax_tf.errors import UserError
    from kmax_tf.export.results import result_names

    progress = Progress(len(paths), command)
    failures = 0
    for path, name in zip(paths, result_names(paths)):
        try:
            image = read_image(path)
        except BadExampleError as error:
            print(error_line("kmax", error), file=sys.stderr)
            failures += 1
        else:
            yield name, image
        progress.advance()
    if failures:
        raise UserError(f"{failures} of {len(paths)} images could not be read")
