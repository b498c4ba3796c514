"""What a conversion said of its splits."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf


def read_report(output: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of report.json, by split; empty where there is none."""
    try:
        with tf.io.gfile.GFile(os.path.join(output, "report.json"), "r") as file:
            content = json.loads(file.read())
    except (tf.errors.OpError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
