"""From an experiment's data options to the dataset that training or evaluation consumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kmax_tf.config import label_space, options_of
from kmax_tf.config.dataset import read_description
from kmax_tf.data import preprocessing
from kmax_tf.data.color import ColorPolicy, Step
from kmax_tf.data.copy_paste import CopyPasteOptions
from kmax_tf.data.reader import ReaderOptions, read_forever, read_once
from kmax_tf.data.targets import TargetOptions, make_targets
from kmax_tf.data.training_example import AugmentationOptions, TrainingExample
from kmax_tf.errors import UserError
from kmax_tf.files.reading import is_file
from kmax_tf.labels import LabelSpace
from kmax_tf.ops.resizing import resize_map
from kmax_tf.protos import data_pb2, experiment_pb2
from kmax_tf.records.index import find_files, index_records
from kmax_tf.records.label_agreement import check_same_labels
from kmax_tf.records.label_checks import check_trainable
from kmax_tf.structures import Targets

Example = dict[str, tf.Tensor]


def build_dataset(
    experiment: experiment_pb2.Experiment,
    training: bool,
    input_context: tf.distribute.InputContext | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Builds the input pipeline.

    Args:
      experiment: the resolved experiment.
      training: whether train_data is read, shuffled and augmented without end, or eval_data once
        and in order.
      input_context: which of several pipelines this is; batches are then those of one replica.
      first_step: steps that the run has done already; the data go on where they stopped.

    Returns:
      In training, a dataset of (images [B, h, w, 3] float32 0..255, Targets). In evaluation, of
      (images, Targets, raw) with a last batch that may be smaller; raw is a dict of image_id and
      source_id [B] string (`data.records`), raw_size [B, 2] and fitted_size [B, 2] int32 (height,
      width of the image, and in the network's input before padding), and panoptic [B, H, W] int32,
      the label at the images' own sizes, padded with the panoptic id of unlabeled pixels to the
      largest of the batch.

    Raises:
      UserError: no file matches, records of other classes or without any segment, or a batch that
        cannot be divided.
    """
    data = experiment.train_data if training else experiment.eval_data
    labels = label_space(experiment.dataset)
    context = input_context or tf.distribute.InputContext()
    batch_size = _replica_batch_size(data, context)
    # Other machines, workers of a service or hosts of a TPU, get the index with the pipeline.
    elsewhere = bool(data.service_address) or experiment.runtime.tpu not in ("", "local")
    index = index_records(check_records(experiment, training), in_memory=elsewhere)
    reader = _reader_options(experiment, training, context, first_step)
    if training:
        example = training_example(experiment)
        dataset = read_forever(index, reader, example.num_examples).map(
            example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        dataset = dataset.batch(batch_size, drop_remainder=True)
        if data.service_address:
            service = tf.data.experimental.service
            # Each number of an example on one of its workers.
            policy = service.ShardingPolicy.DYNAMIC
            dataset = dataset.apply(service.distribute(policy, data.service_address))
    else:
        dataset = read_once(index, reader).map(
            _evaluation_function(data, labels),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        dataset = _padded_batches(dataset, batch_size, labels)
    return dataset.prefetch(tf.data.AUTOTUNE)


def check_records(experiment: experiment_pb2.Experiment, training: bool) -> list[str]:
    """Checks that an experiment's records are there and of its classes, and returns their files.

    Raises:
      UserError: no file matches, records of other classes, or to train on without any segment.
    """
    data = experiment.train_data if training else experiment.eval_data
    files = find_files(data.records, experiment.data_dir)
    labels = label_space(experiment.dataset)
    check_descriptions(files, labels, f"the experiment {experiment.name!r}")
    if training:
        check_trainable(files, labels)
    return files


def training_example(experiment: experiment_pb2.Experiment) -> TrainingExample:
    """Builds what makes a training element of decoded examples."""
    data, change = experiment.train_data, experiment.train_data.augmentation
    pasting = change.copy_paste
    options = options_of(
        AugmentationOptions,
        data,
        change,
        color=_color_policy(change.color) if change.HasField("color") else None,
        copy_paste=(
            options_of(CopyPasteOptions, pasting) if change.HasField("copy_paste") else None
        ),
    )
    labels = label_space(experiment.dataset)
    seed = experiment.training.seed
    return TrainingExample(options, options_of(TargetOptions, data), labels, seed)


def check_descriptions(files: Sequence[str], labels: LabelSpace, who: str) -> None:
    """Checks that records mean by their ids what their reader does.

    Args:
      files: of the records. The description beside them, dataset.textproto, is what counts; where
        there is none, as beside the reference's records, nothing is checked.
      labels: what the reader means.
      who: reads them, for messages.

    Raises:
      UserError: the descriptions differ, or one is malformed.
    """
    for folder in dict.fromkeys(map(os.path.dirname, files)):
        path = os.path.join(folder, "dataset.textproto")
        if is_file(path):
            check_same_labels(labels, read_description(path)[0], path, who)


def _replica_batch_size(data: data_pb2.Data, context: tf.distribute.InputContext) -> int:
    replicas = context.num_replicas_in_sync
    if data.batch_size % replicas:
        raise UserError(f"batch_size {data.batch_size} cannot be divided among {replicas} replicas")
    return data.batch_size // replicas


def _reader_options(
    experiment: experiment_pb2.Experiment,
    training: bool,
    context: tf.distribute.InputContext,
    first_step: int,
) -> ReaderOptions:
    data = experiment.train_data if training else experiment.eval_data
    pipeline, pipelines = context.input_pipeline_id, context.num_input_pipelines
    cache = None
    if data.cache_file:
        split = "train" if training else "eval"
        cache = f"{data.cache_file}-{split}-{pipeline}-of-{pipelines}"
    elif data.cache:
        cache = ""
    return options_of(
        ReaderOptions,
        data,
        experiment.training,  # the seed
        shard=(pipeline, pipelines),
        first=first_step * data.batch_size,
        cache=cache,
    )


def _color_policy(policy: data_pb2.ColorPolicy) -> ColorPolicy:
    def step_at(step: data_pb2.ColorStep) -> Step:
        level = round(step.level * policy.magnitude_scale, 6)  # as written, not as float32
        return options_of(Step, step, level=level)

    sequences = tuple(tuple(map(step_at, sequence.steps)) for sequence in policy.sequences)
    return options_of(ColorPolicy, policy, sequences=sequences)


def _evaluation_function(
    data: data_pb2.Data, labels: LabelSpace
) -> Callable[[Example], tuple[tf.Tensor, Targets, Example]]:
    """Returns the map of a decoded example to an evaluation element."""
    height, width = data.crop_size
    crop = (height, width)
    # A set for evaluation is too small to pay for a compilation.
    options = options_of(TargetOptions, data, compile=False)

    def prepare(example: Example) -> tuple[tf.Tensor, Targets, Example]:
        panoptic = example["panoptic"]
        image, size = preprocessing.fit_image(example["image"], crop, data.min_size, data.max_size)
        label = preprocessing.pad_map(resize_map(panoptic, size), crop, labels.void_panoptic_id)
        raw = {
            "image_id": example["image_id"],
            "source_id": example["source_id"],
            "raw_size": tf.shape(panoptic),
            "fitted_size": size,
            "panoptic": panoptic,
        }
        return image, make_targets(label, labels, options), raw

    return prepare


def _padded_batches(
    dataset: tf.data.Dataset, batch_size: int, labels: LabelSpace
) -> tf.data.Dataset:
    """Batches evaluation elements; only the raw labels differ in shape."""
    padding: Any = tf.nest.map_structure(lambda spec: None, dataset.element_spec)
    padding[2]["panoptic"] = tf.constant(labels.void_panoptic_id, tf.int32)
    return dataset.padded_batch(batch_size, padding_values=padding)
