"""From an experiment to its post-processing: the only file here that sees protos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import tensorflow as tf

from kmax_tf.config import label_space, options_of
from kmax_tf.config.strides import mask_stride
from kmax_tf.devices import accelerated
from kmax_tf.labels import LabelSpace
from kmax_tf.postprocessing.mask_reports import MaskReport, mask_reports
from kmax_tf.postprocessing.merging import MaskWise, Merging, PixelWise
from kmax_tf.postprocessing.merging_by_cells import MaskWiseByCells, PixelWiseByCells
from kmax_tf.postprocessing.postprocessor import MAPS, SEGMENTS, Postprocessor
from kmax_tf.postprocessing.readings import Threshold
from kmax_tf.postprocessing.views import Views
from kmax_tf.protos import experiment_pb2, postprocessing_pb2, training_pb2
from kmax_tf.structures import Predictions


def thresholds_of(experiment: experiment_pb2.Experiment) -> dict[str, float]:
    """Returns the thresholds of an experiment's post-processing by the names of their fields."""
    options = experiment.postprocessing
    chosen = _chosen_merging(options)
    names = [x.name for x in chosen.DESCRIPTOR.fields if x.name.endswith("_threshold")]
    return {
        "pixel_threshold": options.pixel_threshold,
        **{name: getattr(chosen, name) for name in names},
    }


def build_postprocessor(
    experiment: experiment_pb2.Experiment,
    by_cells: Optional[bool] = None,
    thresholds: Optional[Mapping[str, tf.Tensor]] = None,
) -> Postprocessor:
    """Builds the post-processing of an experiment: `Predictions` -> maps.

    Args:
      experiment: resolved.
      by_cells: whether masks are merged by cells, which suits CPUs and which XLA can't compile;
        None: as suits the experiment's runtime and this machine.
      thresholds: scalars in place of some of `thresholds_of`; classes that have a threshold of
        their own keep it. XLA can't compile that.
    """
    options = experiment.postprocessing
    labels = label_space(experiment.dataset)
    if by_cells is None:
        runtime = experiment.runtime
        compiled = runtime.jit_compile or runtime.strategy == training_pb2.TPU
        by_cells = not (compiled or accelerated())
    chosen = _chosen_merging(options)
    values = {**thresholds_of(experiment), **(thresholds or {})}
    merging: Merging
    if isinstance(chosen, postprocessing_pb2.PixelWise):
        every = values["class_threshold"]
        of_classes = _of_classes(options, labels, every, every)
        merging = (PixelWiseByCells if by_cells else PixelWise)(of_classes)
    else:
        merging = options_of(
            MaskWise,
            chosen,
            class_thresholds=_of_classes(
                options, labels, values["thing_threshold"], values["stuff_threshold"]
            ),
            overlap_threshold=values["overlap_threshold"],
        )
        if by_cells:
            merging = MaskWiseByCells(**vars(merging))
    return options_of(
        Postprocessor,
        options,
        labels=labels,
        merging=merging,
        output_stride=mask_stride(experiment.model),
        pixel_threshold=values["pixel_threshold"],
    )


def build_views(experiment: experiment_pb2.Experiment) -> Views:
    """Builds test-time augmentation: what makes one prediction of several views of an image."""
    return options_of(Views, experiment.postprocessing.test_time_augmentation)


def output_maps(experiment: experiment_pb2.Experiment) -> tuple[str, ...]:
    """Returns the names of the maps that an export of the experiment gives."""
    names = [postprocessing_pb2.OutputMap.Name(m) for m in experiment.postprocessing.maps]
    chosen = {name.lower() for name in names}
    return tuple(name for name in MAPS if name in chosen or not chosen)


def _chosen_merging(
    options: postprocessing_pb2.Postprocessing,
) -> postprocessing_pb2.MaskWise | postprocessing_pb2.PixelWise:
    """Returns the alternative that is set, or the one that is there without."""
    pixel_wise = options.WhichOneof("merging") == "pixel_wise"
    return options.pixel_wise if pixel_wise else options.mask_wise


def _of_classes(
    options: postprocessing_pb2.Postprocessing,
    labels: LabelSpace,
    thing: Threshold,
    stuff: Threshold,
) -> tuple[float, ...] | tf.Tensor:
    """Returns the class threshold of each class; [K] if some are tensors."""
    own = {entry.name: entry.threshold for entry in options.class_thresholds}
    values = tuple(
        own.get(category.name, thing if category.thing else stuff) for category in labels.classes
    )
    return tf.stack(values) if any(tf.is_tensor(value) for value in values) else values


def postprocess(
    experiment: experiment_pb2.Experiment, predictions: Predictions
) -> dict[str, tf.Tensor]:
    """Merges predictions into maps at the size of the network's input.

    In a graph, shapes don't depend on values, so that XLA can compile the caller: that takes longer
    on CPUs than a call with eager tensors does.

    Args:
      experiment: as `kmax_tf.load_experiment` returns it.
      predictions: what the model says of a batch.

    Returns:
      panoptic, semantic, semantic_scores, instance_scores, segment_ids, segment_scores and more of
      each cluster center, as `Postprocessor` describes them.
    """
    by_cells = None if tf.executing_eagerly() else False
    return build_postprocessor(experiment, by_cells)(predictions)


def explain_masks(
    experiment: experiment_pb2.Experiment, predictions: Predictions
) -> list[list[MaskReport]]:
    """Says of each mask whether it was kept, and if not, which rule dropped it.

    Args:
      experiment: as `kmax_tf.load_experiment` returns it.
      predictions: what the model says of a batch.

    Returns:
      A list an image, one report a cluster center, best rank first.
    """
    postprocessor = build_postprocessor(experiment)
    maps = postprocessor(predictions)
    segments = {name: maps[name].numpy() for name in SEGMENTS}
    return [
        mask_reports(
            {name: values[image] for name, values in segments.items()}, postprocessor.labels
        )
        for image in range(len(segments["segment_ids"]))
    ]
