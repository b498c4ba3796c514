"""From an experiment to its post-processing: the only file here that sees protos."""

from __future__ import annotations

import tensorflow as tf

from kmax_tf.config import label_space
from kmax_tf.config_validation import mask_stride
from kmax_tf.postprocessing.merging import MaskWise, Merging, PixelWise
from kmax_tf.postprocessing.postprocessor import Postprocessor
from kmax_tf.protos import experiment_pb2
from kmax_tf.structures import Predictions


def build_postprocessor(experiment: experiment_pb2.Experiment) -> Postprocessor:
    """Builds the post-processing of an experiment: `Predictions` -> maps."""
    options = experiment.postprocessing
    labels = label_space(experiment.dataset)
    merging: Merging
    if options.WhichOneof("merging") == "pixel_wise":
        merging = PixelWise((options.pixel_wise.class_threshold,) * labels.num_classes)
    else:
        mask_wise = options.mask_wise
        merging = MaskWise(
            tuple(
                mask_wise.thing_threshold if category.thing else mask_wise.stuff_threshold
                for category in labels.classes
            ),
            overlap_threshold=mask_wise.overlap_threshold,
            class_weight=mask_wise.class_weight,
            mask_weight=mask_wise.mask_weight,
        )
    return Postprocessor(
        labels,
        merging,
        output_stride=mask_stride(experiment.model),
        pixel_threshold=options.pixel_threshold,
        thing_area_limit=options.thing_area_limit,
        stuff_area_limit=options.stuff_area_limit,
    )


def postprocess(
    experiment: experiment_pb2.Experiment, predictions: Predictions
) -> dict[str, tf.Tensor]:
    """Merges predictions into maps at the size of the network's input.

    Args:
      experiment: as `kmax_tf.load_experiment` returns it.
      predictions: what the model says of a batch.

    Returns:
      panoptic, semantic, semantic_scores, instance_scores, segment_ids and segment_scores, as
      `Postprocessor` describes them.
    """
    return build_postprocessor(experiment)(predictions)
