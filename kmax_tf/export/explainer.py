"""Explaining a prediction: how pixels group around the cluster centers, kMaX block after block."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection
from typing import Optional

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints.restore import find_checkpoint, recorded_experiment, restore_weights
from kmax_tf.config import Experiment, label_space, load_experiment
from kmax_tf.errors import UserError
from kmax_tf.evaluation.assignments import InputSizes, draw_assignments
from kmax_tf.export.version_folder import find_export
from kmax_tf.inference import Inference
from kmax_tf.model.builder import build_model
from kmax_tf.model.kmax import KMaX


class Explainer:
    """Draws how a model comes to its prediction.

    Attributes:
      num_blocks: kMaX blocks of the model.
    """

    def __init__(self, model: KMaX, experiment: Experiment):
        """Prepares a model.

        Args:
          model: with its weights.
          experiment: resolved; its eval_data says how images are fitted.
        """
        self.num_blocks = len(model.transformer_decoder.blocks)
        self._label_space = label_space(experiment.dataset)
        self._inference = inference = Inference(experiment, model, ["panoptic"])

        @tf.function(autograph=False)
        def predict(inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            return inference(inputs)["panoptic"], inference.assignments(inputs)

        self._predict = predict

    def __call__(self, image: np.ndarray, blocks: Optional[Collection[int]] = None) -> np.ndarray:
        """Draws the image, the cluster assignments and the panoptic map on one sheet.

        Args:
          image: [H, W, 3] uint8.
          blocks: numbers, from 1, of the blocks to draw; None: all.

        Returns:
          [height, width, 3] uint8.

        Raises:
          UserError: there is no block of such a number.
        """
        self.check_blocks(blocks)
        inference = self._inference
        fitted, fitted_size = inference.fit(image)
        panoptic, maps = self._predict(fitted[tf.newaxis])
        restored = inference.restore(panoptic[0], fitted_size, tf.constant(image.shape[:2]))
        cleaned = inference.clean({"panoptic": restored.numpy()})["panoptic"]
        height, width, _ = inference.input_shape
        sizes = InputSizes((height, width), fitted_size)
        stages = [values[0] for values in maps]
        return draw_assignments(image, cleaned, stages, sizes, self._label_space, blocks)

    def check_blocks(self, blocks: Optional[Collection[int]]) -> None:
        """Checks numbers of blocks.

        Raises:
          UserError: there is no block of such a number.
        """
        wrong = [number for number in blocks or () if not 1 <= number <= self.num_blocks]
        if wrong:
            raise UserError(
                f"there is no block {wrong[0]}: the model has the kMaX blocks 1 to "
                f"{self.num_blocks}"
            )


def load_explainer(path: str | os.PathLike[str], config: Optional[str] = None) -> Explainer:
    """Builds the model of a training run and restores its weights.

    Args:
      path: folder of a run, or prefix of a checkpoint.
      config: experiment file; None: the one recorded in the run's folder.

    Raises:
      UserError: there is no such checkpoint, it is of another model, or the path is an exported
        SavedModel.
    """
    export = find_export(pathlib.Path(path))
    if export is not None:
        raise UserError(
            f"{export} is an exported SavedModel: give the folder of the run that it was exported "
            "from, or a checkpoint; the page of kmax serve shows the blocks of an export"
        )
    checkpoint = find_checkpoint(path)
    experiment = load_experiment(config or recorded_experiment(checkpoint))
    model = build_model(experiment)
    restore_weights(model, checkpoint)
    return Explainer(model, experiment)
