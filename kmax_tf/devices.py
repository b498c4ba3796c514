"""What TensorFlow computes on."""

from __future__ import annotations

import tensorflow as tf


def accelerated() -> bool:
    """Returns whether TensorFlow sees a GPU or a TPU, where other operations are fast than on CPUs."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
