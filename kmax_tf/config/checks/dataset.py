"""What must hold between the fields of a dataset, and of it and the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kmax_tf.config.problems import Problem, unset
from kmax_tf.protos import dataset_pb2
from kmax_tf.protos.experiment_pb2 import Experiment
from kmax_tf.wording import count_of


def _dataset(experiment: Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    if not dataset.classes:
        yield Problem("dataset", "has no classes; give dataset_file, or classes in place")
        return
    yield from unset(dataset, "dataset", "num_ids", "ignore_label")
    things = sum(category.thing for category in dataset.classes)
    if dataset.HasField("num_ids") and things > dataset.num_ids:
        yield Problem(
            "dataset.classes",
            f"more thing classes ({things}) than classes at all (num_ids = {dataset.num_ids})",
        )


def _classes(experiment: Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    for index, category in enumerate(dataset.classes):
        path = f"dataset.classes[{index}]"
        yield from unset(category, path, "id", "name")
        if dataset.HasField("num_ids") and category.id >= dataset.num_ids:
            yield Problem(f"{path}.id", f"{category.id} must be below num_ids = {dataset.num_ids}")
        if dataset.HasField("ignore_label") and category.id == dataset.ignore_label:
            yield Problem(f"{path}.id", f"{category.id} is the ignore_label, so no class can be it")
        if len(category.color) not in (0, 3):
            yield Problem(
                f"{path}.color",
                f"must be red, green, blue; it has {count_of(len(category.color), 'value')}",
            )
    yield from _duplicates(dataset)
    names = [split.name for split in dataset.splits]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"dataset.splits[{index}].name", f"{name!r} is there twice; remove one")


def _duplicates(dataset: dataset_pb2.Dataset) -> Iterator[Problem]:
    for name in ("id", "name", "original_id"):
        first: dict[Any, int] = {}
        for index, category in enumerate(dataset.classes):
            if not category.HasField(name):
                continue
            value = getattr(category, name)
            if value in first:
                yield Problem(
                    f"dataset.classes[{index}].{name}",
                    f"{value!r} is already that of classes[{first[value]}]",
                )
            first.setdefault(value, index)
    given = {c.original_id: i for i, c in enumerate(dataset.classes) if c.HasField("original_id")}
    for index, category in enumerate(dataset.classes):
        if not category.HasField("original_id") and category.id in given:
            yield Problem(
                f"dataset.classes[{index}].id",
                f"{category.id} is the original_id of classes[{given[category.id]}], and a class "
                "without one keeps its id; give both their original_id",
            )


def _largest_id(experiment: Experiment) -> Iterator[Problem]:
    """Panoptic ids are int32: class id * label_divisor + instance."""
    dataset = experiment.dataset
    ids = {f"dataset.classes[{i}].id": entry.id for i, entry in enumerate(dataset.classes)}
    ids["dataset.ignore_label"] = dataset.ignore_label
    path = max(ids, key=lambda place: ids[place])
    largest = ids[path]
    if (largest + 1) * dataset.label_divisor > 2**31:
        if dataset.HasField("label_divisor"):
            path = "dataset.label_divisor"
        yield Problem(
            path,
            f"the id {largest} and label_divisor {dataset.label_divisor} give panoptic ids up to "
            f"{(largest + 1) * dataset.label_divisor - 1}, but int32 holds {2**31 - 1} at most; "
            "lower one of them",
        )


def _label_divisor(experiment: Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    centers = experiment.model.transformer_decoder.num_centers
    if dataset.label_divisor <= centers:
        yield Problem(
            "dataset.label_divisor",
            f"{dataset.label_divisor} must exceed num_centers = {centers}, the largest instance "
            f"id that a prediction can have",
        )


# What a description by itself must keep.
ALONE = (_dataset, _classes, _largest_id)
CHECKS = (*ALONE, _label_divisor)
