"""What a conversion said of its splits."""

from __future__ import annotations

import json
import os
from typing import Any

from kmax_tf.files.reading import read_file


def read_report(output: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of report.json, by split; empty where there is none."""
    return read_object(os.path.join(output, "report.json"))


def read_object(path: str) -> dict[str, Any]:
    """Returns the object in a JSON file; empty where there is none that can be read."""
    try:
        content = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
