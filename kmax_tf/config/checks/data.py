"""What must hold between the options of training and evaluation data."""

from __future__ import annotations

from collections.abc import Iterator

from kmax_tf.config.problems import Problem, unset
from kmax_tf.grids import is_valid_side, valid_sides_near
from kmax_tf.protos.experiment_pb2 import Experiment


def _crops(experiment: Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        crop = list(getattr(experiment, name).crop_size)
        path = f"{name}.crop_size"
        if len(crop) != 2:
            yield Problem(path, f"must have two values, height and width, not {len(crop)}")
            continue
        for index, side in enumerate(crop):
            if not is_valid_side(side):
                text = " or ".join(map(str, valid_sides_near(side)))
                yield Problem(
                    f"{path}[{index}]",
                    f"must be 32k + 1, for corners to stay aligned at all strides; {side} is not, "
                    f"{text} is near",
                )


def _resizing(experiment: Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        data = getattr(experiment, name)
        if 0 < data.max_size < data.min_size:
            yield Problem(
                f"{name}.min_size",
                f"{data.min_size} is more than max_size {data.max_size}; swap or equal them",
            )
    data = experiment.eval_data
    if len(data.crop_size) == 2 and data.max_size > max(data.crop_size):
        yield Problem(
            "eval_data.max_size",
            f"{data.max_size} is more than the longer side of crop_size {max(data.crop_size)}: "
            f"parts of images would never be seen; lower it or enlarge the crop",
        )


def _augmentation(experiment: Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        scales = getattr(experiment, name).augmentation
        if scales.min_scale > scales.max_scale:
            yield Problem(
                f"{name}.augmentation.min_scale",
                f"{scales.min_scale:g} is more than max_scale {scales.max_scale:g}",
            )


def _colors(experiment: Experiment) -> Iterator[Problem]:
    change = experiment.train_data.augmentation
    path = "train_data.augmentation.color"
    if not change.HasField("color"):
        return
    if not change.color.sequences:
        yield Problem(path, "has no sequences; give them, or leave color out")
    for index, sequence in enumerate(change.color.sequences):
        place = f"{path}.sequences[{index}]"
        if not sequence.steps:
            yield Problem(place, "has no steps; give them, one of probability 0 to change nothing")
        for number, step in enumerate(sequence.steps):
            yield from unset(step, f"{place}.steps[{number}]", "operation")


def _service(experiment: Experiment) -> Iterator[Problem]:
    if experiment.eval_data.service_address:
        yield Problem(
            "eval_data.service_address", "only training data come from a service; leave it out"
        )
    caching = experiment.train_data.WhichOneof("caching")
    if experiment.train_data.service_address and caching:
        yield Problem(
            f"train_data.{caching}",
            "a tf.data service prepares examples elsewhere, where a cache would hold other ones "
            "for each worker; leave out one of the two",
        )


CHECKS = (_crops, _resizing, _augmentation, _colors, _service)
