"""Importing public checkpoints, every variable accounted for."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from kmax_tf.checkpoints.places import CLASS_HEAD, Place, variable_names
from kmax_tf.checkpoints.restore import CheckpointError
from kmax_tf.checkpoints.sources import Source, read_source
from kmax_tf.config import Experiment, label_space
from kmax_tf.config.dataset import read_description
from kmax_tf.model.kmax import KMaX
from kmax_tf.wording import count_of, some

_SEMANTIC_HEAD = re.compile(r"semantic_branch/last_conv/(kernel|bias)$")
_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What an import did, variable by variable.

    Attributes:
      checkpoint: that was read.
      format: of it.
      loaded: variables of the model that have values from it.
      initialised: variables of heads that kept fresh values, for all or some classes, and why.
      missing: other variables of the model that it doesn't have.
      unexpected: keys of its values that the model has no variable for.
      reshaped: variables that have another shape in it.
      ignored: keys of what isn't asked for: other parts, an optimizer's state, counters.
    """

    checkpoint: str
    format: str
    loaded: tuple[str, ...]
    initialised: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    ignored: tuple[str, ...]

    def summary(self) -> str:
        """Returns a few lines for people."""
        fresh = [f"{name} ({reason})" for name, reason in self.initialised.items()]
        rows = (
            ("kept at their fresh values", fresh),
            ("not in the checkpoint", self.missing),
            ("of the checkpoint not in the model", self.unexpected),
            ("ignored", self.ignored),
        )
        loaded = count_of(len(self.loaded), "variable")
        head = f"imported {loaded} of {self.checkpoint} ({self.format})"
        return "\n".join([head, *(_row(names, what) for what, names in rows if names)])


def import_checkpoint(
    model: KMaX,
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    parts: Optional[Collection[str]] = None,
    source_dataset: Optional[str] = None,
    allow_missing: bool = False,
    allow_unexpected: bool = False,
) -> ImportReport:
    """Gives a model the weights of a public checkpoint. If there is an error, nothing changes.

    Args:
      model: as `kmax_tf.build_model` returns it.
      path: file, prefix or folder.
      format: "deeplab2" (public TensorFlow kMaX checkpoints and ImageNet backbones), "pytorch"
        (public PyTorch kMaX checkpoints and the official ConvNeXt's ImageNet ones: .pth, .pkl,
        .safetensors), "keras" (ImageNet weights of keras.applications: .h5), or "auto": by name.
      parts: sub-models that are loaded, such as ["backbone"]; by default what the file is of: the
        whole model or a backbone.
      source_dataset: what the checkpoint was trained on, a description file or its name such as
        "coco"; by default the model's own dataset. Class heads get the weights of classes of the
        same name; the others keep their fresh values.
      allow_missing: whether variables, other than those of heads, may be missing.
      allow_unexpected: whether the checkpoint may have values that the model has no variable for.

    Returns:
      What became of each variable.

    Raises:
      CheckpointError: the file is missing, damaged, of another format or of another model; the
        message names what differs.
    """
    source = read_source(model, os.fspath(path), format)
    plan = _Plan(model, source, _chosen_parts(model, source, parts), source_dataset)
    report = ImportReport(
        checkpoint=os.fspath(path),
        format=source.format,
        loaded=tuple(plan.values),
        initialised=plan.initialised,
        missing=tuple(plan.missing),
        unexpected=tuple(plan.unexpected),
        reshaped=tuple(plan.reshaped),
        ignored=tuple(plan.ignored),
    )
    _refuse(report, allow_missing, allow_unexpected)
    variables = variable_names(model)
    for name, value in plan.values.items():
        variables[name].assign(value)
    return report


class _Plan:
    """What an import is going to do: a value or a reason for each variable."""

    def __init__(
        self,
        model: KMaX,
        source: Source,
        parts: set[str],
        source_dataset: Optional[str],
    ):
        self.source = source
        experiment = text_format.Parse(model.experiment_text, Experiment())
        self.labels = label_space(experiment.dataset)
        self.source_labels = read_description(source_dataset)[0] if source_dataset else self.labels
        self.values: dict[str, np.ndarray] = {}
        self.initialised: dict[str, str] = {}
        self.missing: list[str] = []
        self.reshaped: list[str] = []
        wanted = {
            name: variable
            for name, variable in variable_names(model).items()
            if name.split("/")[0] in parts
        }
        for name, variable in wanted.items():
            place = source.places.get(name)
            if place is not None and place.key in source.shapes:
                self._take(name, variable, place)
            elif _is_head(name):
                self.initialised[name] = "not in the checkpoint"
            else:
                self.missing.append(name)
        used = {source.places[name].key for name in wanted if name in source.places}
        left = [key for key in source.shapes if key not in used]
        self.unexpected = [key for key in left if source.part_of(key) in parts]
        self.ignored = [key for key in left if source.part_of(key) not in parts]
        self.ignored += source.ignored

    def _take(self, name: str, variable: tf.Variable, place: Place) -> None:
        found = tuple(self.source.shapes[place.key])
        channels = self._channels(name)
        if channels is None:
            if found == place.shape:
                value = place.to_ours(self.source.read(place.key))
                self.values[name] = value.reshape(variable.shape)
            else:
                self.reshaped.append(f"{name} {list(found)} instead of {list(place.shape)}")
            return
        mapping, count = channels
        if found != place.with_channels(count):
            self.initialised[name] = (
                f"{count_of(found[place.channel_axis], 'channel')} there, {count} of "
                f"{self.source_labels.name}"
            )
            return
        value = place.to_ours(self.source.read(place.key))
        fresh = variable.numpy().reshape(-1, variable.shape[-1])
        known = mapping >= 0
        fresh[:, known] = value[:, mapping[known]]
        self.values[name] = fresh.reshape(variable.shape)
        if not known.all():
            self.initialised[name] = self._fresh_channels()

    def _fresh_channels(self) -> str:
        """Says which channels of a head the checkpoint has nothing for."""
        theirs = {category.name for category in self.source_labels.classes}
        new = sum(category.name not in theirs for category in self.labels.classes)
        if not new:
            return "ids of no class"
        return f"{new} of {count_of(len(self.labels.classes), 'class')}, new by name"

    def _channels(self, name: str) -> Optional[tuple[np.ndarray, int]]:
        """Returns, for heads, the source's channel of each of ours (-1: none) and their number."""
        labels, theirs = self.labels, self.source_labels
        if CLASS_HEAD.match(name):
            classes = list(theirs.classes)
            if self.source.classes_by_id:
                classes.sort(key=lambda category: category.id)
            index = {category.name: i for i, category in enumerate(classes)}
            ours = [index.get(category.name, -1) for category in labels.classes]
            return np.array([*ours, len(classes)]), len(classes) + 1  # the last is void
        if _SEMANTIC_HEAD.match(name):
            mapping = np.full(labels.num_ids, -1)
            ids = {category.name: category.id for category in theirs.classes}
            for category in labels.classes:
                mapping[category.id] = ids.get(category.name, -1)
            if max(labels.ignore_label - labels.num_ids, theirs.ignore_label - theirs.num_ids) < 0:
                mapping[labels.ignore_label] = theirs.ignore_label
            return mapping, theirs.num_ids
        return None


def _chosen_parts(model: KMaX, source: Source, parts: Optional[Collection[str]]) -> set[str]:
    known = set(model.checkpoint_items)
    unknown = set(parts or ()) - known
    if unknown:
        raise CheckpointError(
            f"the model has no part {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}"
        )
    if parts:
        return set(parts)
    only_backbone = {source.part_of(key) for key in source.shapes} == {"backbone"}
    return {"backbone"} if only_backbone else known


def _is_head(name: str) -> bool:
    """Says whether a variable depends on the dataset's classes, or is a training signal only."""
    return bool(CLASS_HEAD.match(name)) or name.startswith("semantic_branch/")


def _refuse(report: ImportReport, allow_missing: bool, allow_unexpected: bool) -> None:
    problems = []
    if report.reshaped:
        problems.append(_row(report.reshaped, "of another shape"))
    if report.missing and not allow_missing:
        problems.append(
            _row(report.missing, "of the model not in it (allow_missing lets that pass)")
        )
    if report.unexpected and not allow_unexpected:
        problems.append(
            _row(report.unexpected, "of it not in the model (allow_unexpected lets that pass)")
        )
    if not report.loaded and not problems:
        problems.append("it has nothing for the model")
    if problems:
        raise CheckpointError(
            f"{report.checkpoint} ({report.format}) is of another model: {'; '.join(problems)}. "
            "Use the experiment of its backbone and dataset, or load parts of it."
        )


def _row(names: Sequence[str], what: str) -> str:
    return f"{count_of(len(names), 'variable')} {what}: {some(names, _SHOWN)}"
