"""Evaluating a model: predict, measure, draw."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from PIL import Image

from kmax_tf.config import label_space
from kmax_tf.data.builder import build_dataset
from kmax_tf.data.progress import Progress
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.evaluation.predictions import raw_predictions
from kmax_tf.figures import side_by_side
from kmax_tf.model.folding import fold_batch_norms
from kmax_tf.model.kmax import KMaX
from kmax_tf.postprocessing.builder import build_postprocessor, build_views
from kmax_tf.postprocessing.islands import remove_islands
from kmax_tf.protos import experiment_pb2


def evaluate_model(
    model: KMaX, experiment: experiment_pb2.Experiment, pictures_dir: str
) -> dict[str, Any]:
    """Measures a model on the evaluation data of an experiment.

    Args:
      model: with its weights restored.
      experiment: the resolved experiment.
      pictures_dir: the first images are drawn there: input, ground truth, prediction.

    Returns:
      The metrics in percent (`PanopticMetrics.result`), at the images' own sizes.
    """
    labels = label_space(experiment.dataset)
    metrics = PanopticMetrics(labels, experiment.evaluation.mask_ap)
    postprocess = build_postprocessor(experiment)
    folded = fold_batch_norms(model)
    views = build_views(experiment)

    @tf.function
    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        maps = postprocess(views(lambda view: folded(view, training=False), images))
        if not experiment.evaluation.mask_ap:
            del maps["instance_scores"]  # the costly one
        return maps

    tf.io.gfile.makedirs(pictures_dir)
    drawn = 0
    progress = Progress(None, "evaluate")
    for images, _, raw in build_dataset(experiment, training=False):
        for image in raw_predictions(images, predict(images), raw):
            image.prediction["panoptic"] = remove_islands(
                image.prediction["panoptic"],
                experiment.postprocessing.island_area_limit,
                labels.void_panoptic_id,
            )
            metrics.update(image.image_id, image.truth, image.prediction)
            if drawn < experiment.evaluation.num_pictures:
                picture = side_by_side(
                    image.image(),
                    image.truth,
                    image.prediction["panoptic"],
                    labels,
                    errors=True,
                    legend=True,
                )
                name = image.image_id.replace("/", "_")
                path = os.path.join(pictures_dir, f"{name}.png")
                Image.fromarray(picture).save(path)
                drawn += 1
        progress.advance(images.shape[0])
    progress.finish()
    return metrics.result()
