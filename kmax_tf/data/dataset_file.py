"""Dataset descriptions: files of their own, or those that ship with the package."""

from __future__ import annotations

import os

from kmax_tf.config import parse_dataset, shipped_configs
from kmax_tf.data.sources import is_file, read_file
from kmax_tf.errors import UserError
from kmax_tf.files import decode_text
from kmax_tf.structures import LabelSpace


def read_description(path: str) -> tuple[LabelSpace, str]:
    """Reads a dataset description; TensorFlow isn't imported for it, unless the file is remote.

    Args:
      path: a textproto file, or the name of one that ships with the package ("shapes").

    Returns:
      What its ids mean, and its text.

    Raises:
      UserError: there is no such file, or it is malformed or inconsistent.
    """
    shipped = shipped_configs() / "datasets"
    file = path if is_file(path) else os.fspath(shipped / f"{path}.textproto")
    try:
        text = decode_text(read_file(file))
    except OSError as error:
        names = ", ".join(sorted(found.stem for found in shipped.glob("*.textproto")))
        raise UserError(
            f"no dataset description {path}; give a textproto file or one of: {names}"
        ) from error
    except ValueError as error:
        raise UserError(f"the dataset description {file} cannot be read: {error}") from error
    return parse_dataset(text, file), text
