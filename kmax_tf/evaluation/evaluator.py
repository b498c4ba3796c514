"""Evaluating a model: predict, measure, draw."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from kmax_tf.config import Experiment, choice_name, label_space
from kmax_tf.data.builder import build_dataset
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.report.gallery import Gallery, Picture
from kmax_tf.evaluation.submission import Submission, safe_name
from kmax_tf.figures import side_by_side
from kmax_tf.files.images import write_png
from kmax_tf.files.progress import Progress
from kmax_tf.inference import Inference, RawPrediction
from kmax_tf.labels import LabelSpace
from kmax_tf.model.kmax import KMaX
from kmax_tf.postprocessing.postprocessor import MAPS
from kmax_tf.records.examples import source_id_of


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
      result: the metrics in percent (`PanopticMetrics.result`).
      confusion: [K, K+1] pixels of each true class by predicted class (the last: unlabeled).
      pictures: of the worst and the best images, by heading.
    """

    result: dict[str, Any]
    confusion: np.ndarray
    pictures: Mapping[str, list[Picture]]


def evaluate_model(
    model: KMaX,
    experiment: Experiment,
    pictures_dir: str,
    submission: Optional[Submission] = None,
) -> Evaluation:
    """Measures a model on the evaluation data of an experiment.

    Args:
      model: with its weights restored.
      experiment: the resolved experiment.
      pictures_dir: the first images are drawn there: input, ground truth, prediction.
      submission: where predictions are written, too.
    """
    labels = label_space(experiment.dataset)
    options = experiment.evaluation
    resolution = choice_name(options, "resolution")
    metrics = PanopticMetrics(labels, options.mask_ap, resolution)
    gallery = Gallery(labels, metrics.extremes)
    maps = measured_maps(options.mask_ap or submission is not None)
    inference = Inference(experiment, model, maps)
    tf.io.gfile.makedirs(pictures_dir)
    drawn = 0
    progress = Progress(None, "evaluate")
    for images, _, raw in build_dataset(experiment, training=False):
        outputs = inference(images)
        for image in inference.by_image(images, outputs, raw, resolution):
            metrics.update(image.image_id, image.truth, image.prediction)
            if image.image_id in metrics.extremes:
                panoptic = image.prediction["panoptic"]
                gallery.keep(image.image_id, image.image(), image.truth, panoptic)
            if drawn < options.num_pictures:
                _draw(image, labels, pictures_dir)
                drawn += 1
        if submission is not None:
            for image in inference.by_image(images, outputs, raw):
                source_id = source_id_of(image.source_id)
                submission.add(image.image_id, source_id, image.prediction)
        progress.advance(images.shape[0])
    progress.finish()
    return Evaluation(metrics.result(), metrics.confusion, gallery.pictures())


def measured_maps(scores: bool) -> list[str]:
    """Returns the names of the maps that metrics need; without scores, not the costly one."""
    return [name for name in MAPS if scores or name != "instance_scores"]


def _draw(image: RawPrediction, labels: LabelSpace, folder: str) -> None:
    """Draws an image, its truth, its prediction and the errors into a file named like it."""
    panoptic = image.prediction["panoptic"]
    picture = side_by_side(image.image(), image.truth, panoptic, labels, errors=True)
    write_png(os.path.join(folder, f"{safe_name(image.image_id)}.png"), picture)
