"""The one place that says which Keras: Keras 2, on both supported stacks.

TensorFlow 2.15 holds Keras 2 itself; from 2.16 on `tf.keras` is Keras 3 and Keras 2 lives on as the
package tf-keras. Importing the right one by name is safe whatever the user imported before us,
which setting TF_USE_LEGACY_KERAS is not.
"""

from __future__ import annotations

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
    keras = tf.keras
else:
    import tf_keras as keras  # type: ignore[no-redef]

__all__ = ["keras"]
