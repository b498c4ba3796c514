"""What TensorFlow computes on."""

from __future__ import annotations

import tensorflow as tf


def accelerated() -> bool:
    """Returns whether TensorFlow sees a GPU or a TPU: other operations are fast there."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
