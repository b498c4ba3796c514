"""Predicting with an exported SavedModel or with the folder of a training run, alike."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Optional, Protocol

import numpy as np
import tensorflow as tf

from kmax_tf.config import label_space, load_experiment
from kmax_tf.errors import UserError
from kmax_tf.export.version_folder import find_export, read_labels
from kmax_tf.files.writing import plain_path
from kmax_tf.labels import LabelSpace


class Predictor(Protocol):
    """Segments one image after another.

    Attributes:
      labels: what the ids of the maps mean.
      image_bytes: the signature of that name.
    """

    labels: LabelSpace
    image_bytes: Callable[..., dict[str, tf.Tensor]]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Segments an image [H, W, 3] uint8; maps are [H, W], segments [N]."""


class _SavedModelPredictor:
    def __init__(self, folder: pathlib.Path):
        self.labels = read_labels(folder)
        try:
            self._model = tf.saved_model.load(plain_path(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot load the SavedModel {folder}: {error}; it is damaged or half written: "
                "export the model again"
            ) from error
        missing = {"serving_default", "image_bytes"} - set(self._model.signatures)
        if missing:
            raise UserError(
                f"{folder} was exported without {', '.join(sorted(missing))}; export the model "
                "again, with --signatures that list both, or without"
            )
        self._serve = self._model.signatures["serving_default"]
        self.image_bytes = self._model.signatures["image_bytes"]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._serve(images=tf.constant(image[np.newaxis]))
        return _on_host(outputs)


class _RunPredictor:
    def __init__(self, folder: pathlib.Path, maps: Optional[Sequence[str]]):
        from kmax_tf.checkpoints.restore import restore_weights
        from kmax_tf.export.serving_model import ServingModel
        from kmax_tf.inference import Inference
        from kmax_tf.model.builder import build_model

        experiment = load_experiment(folder / "experiment.textproto")
        model = build_model(experiment)
        restore_weights(model, folder)
        self.labels = label_space(experiment.dataset)
        self._model = ServingModel(Inference(experiment, model), experiment, maps)
        self.image_bytes = self._model.image_bytes

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._model.serving_default(tf.constant(image[np.newaxis]))
        return _on_host(outputs)


def _on_host(outputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Fetches the outputs of one image."""
    return {name: value[0].numpy() for name, value in outputs.items()}


def load_predictor(path: str | os.PathLike[str], maps: Optional[Sequence[str]] = None) -> Predictor:
    """Loads what predicts from a folder.

    Args:
      path: a folder that `kmax export` wrote (the newest version is taken), one of its versions, or
        the folder of a training run.
      maps: names of the maps that are needed; None: all that `postprocessing.maps` asks for. An
        export gives those that it was made with.

    Raises:
      UserError: it is none of them, or is damaged.
    """
    folder = pathlib.Path(path)
    export = find_export(folder)
    if export is not None:
        return _SavedModelPredictor(export)
    if (folder / "experiment.textproto").exists():
        return _RunPredictor(folder, maps)
    raise UserError(
        f"{folder} holds no model: expected saved_model.pb (written by `kmax export`), numbered "
        "versions of it, or experiment.textproto with checkpoints (written by trainer.py)"
    )
