"""Whether labels can teach anything: the same for conversion, inspection and training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from kmax_tf.errors import UserError
from kmax_tf.labels import LabelSpace
from kmax_tf.records.report import read_report
from kmax_tf.records.statistics import Statistics
from kmax_tf.wording import some

_TRAIN = "train"
_ADVICE = (
    "compare the values, colors or ids in the labels with the list of classes: all their pixels "
    "are unlabeled, or of crowd regions"
)


def doubts_about(splits: Mapping[str, Statistics], labels: LabelSpace) -> list[str]:
    """Finds what is odd about the segments of a dataset's splits.

    A split without labels, as publishers keep those of test splits, is left out.

    Returns:
      Warnings: sentences.

    Raises:
      UserError: no split, or not the one that is trained on, has any segment.
    """
    labeled = {name: s for name, s in splits.items() if s.images > s.unlabeled}
    present = {name: _present(statistics) for name, statistics in labeled.items()}
    if labeled and not any(present.values()):
        raise UserError(f"there is no segment in {some(labeled)}; {_ADVICE}")
    if _TRAIN in present and not present[_TRAIN]:
        raise UserError(f"there is no segment in {_TRAIN}; {_ADVICE}")
    doubts = [
        f"there is no segment in {name}, so that it measures nothing; {_ADVICE}"
        for name, classes in present.items()
        if not classes
    ]
    if not labeled:
        return doubts
    everywhere = set().union(*present.values())
    names = [category.name for category in labels.classes]
    absent = [name for name in names if name not in everywhere]
    if absent:
        doubts.append(f"no segment of {some(absent)} in {some(labeled)}")
    untrained = [name for name in names if name in everywhere - present.get(_TRAIN, everywhere)]
    if untrained:
        others = [name for name in present if name != _TRAIN]
        doubts.append(
            f"no segment of {some(untrained)} in {_TRAIN}, but in {some(others)}: "
            "no model learns what it never saw"
        )
    stuff = {category.name for category in labels.classes if not category.thing}
    if len(everywhere) == 1 and everywhere <= stuff:
        doubts.append(
            f"all segments are of the stuff class {some(everywhere)}, and unlabeled pixels "
            "teach nothing: a model that says so of every pixel is always right. Give what lies "
            "beside it a class of its own"
        )
    return doubts


def check_trainable(files: Sequence[str], labels: LabelSpace) -> None:
    """Checks that records have segments, by the report beside them, which the reference's lack.

    Raises:
      UserError: they have none.
    """
    by_folder: dict[str, set[str]] = {}
    for file in files:
        folder, name = os.path.split(file)
        by_folder.setdefault(folder, set()).add(name.rsplit("-", 3)[0])
    total = Statistics()
    for folder, splits in by_folder.items():
        report = read_report(folder)
        try:
            found = [Statistics.from_json(report[split]) for split in splits]
        except (KeyError, TypeError, AttributeError):  # Another tool's records, or report.
            return
        for statistics in found:
            total.add(statistics)
    doubts_about({f"the records in {some(by_folder)}": total}, labels)


def _present(statistics: Statistics) -> set[str]:
    return {name for name, counted in statistics.classes.items() if counted.segments}
