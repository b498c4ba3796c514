"""kMaX-DeepLab: panoptic segmentation by k-means cross-attention, in TensorFlow.

The public interface is imported on first use, so that `import kmax_tf` stays cheap, and TensorFlow
with it, without the lines that its libraries print as they are loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kmax_tf.version import __version__

if TYPE_CHECKING:
    from kmax_tf.checkpoints.exporter import export_checkpoint
    from kmax_tf.checkpoints.importer import import_checkpoint
    from kmax_tf.checkpoints.restore import restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.data.builder import build_dataset
    from kmax_tf.errors import UserError
    from kmax_tf.export.saved_model import export_saved_model
    from kmax_tf.model.builder import build_model
    from kmax_tf.postprocessing.builder import explain_masks, postprocess
    from kmax_tf.training.keras_fit import compile_for_training

__all__ = [
    "UserError",
    "__version__",
    "build_dataset",
    "build_model",
    "compile_for_training",
    "explain_masks",
    "export_checkpoint",
    "export_saved_model",
    "import_checkpoint",
    "load_experiment",
    "postprocess",
    "restore_weights",
]

_HOME = {
    "UserError": "errors",
    "build_dataset": "data.builder",
    "build_model": "model.builder",
    "compile_for_training": "training.keras_fit",
    "explain_masks": "postprocessing.builder",
    "export_checkpoint": "checkpoints.exporter",
    "import_checkpoint": "checkpoints.importer",
    "export_saved_model": "export.saved_model",
    "load_experiment": "config",
    "postprocess": "postprocessing.builder",
    "restore_weights": "checkpoints.restore",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kmax_tf' has no attribute {name!r}")
    from kmax_tf.library_noise import quiet_tensorflow

    quiet_tensorflow()
    return getattr(importlib.import_module(f"kmax_tf.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
