"""Datumaro, which is an extra: imported where it is needed, without its noise."""

from __future__ import annotations

import logging
from typing import Any

from kmax_tf.errors import UserError


def import_datumaro() -> Any:
    """Returns the library.

    Raises:
      UserError: it isn't installed, or can't be imported.
    """
    try:
        import datumaro
    except ImportError as error:
        raise UserError(
            f"Datumaro cannot be imported ({error}); pip install 'kmax-tf[datumaro]'"
        ) from error
    logging.getLogger("datumaro").setLevel(logging.ERROR)
    return datumaro
