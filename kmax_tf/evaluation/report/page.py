"""One HTML file that shows an evaluation to people: everything is inside, nothing is loaded.

The page is in templates/: report.html, its charts, style and script. What they show is made here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import jinja2
import numpy as np

from kmax_tf.evaluation.metrics import Result
from kmax_tf.evaluation.scores import format_score, group_of
from kmax_tf.files.pages import page_templates
from kmax_tf.files.writing import PathLike, write_atomically

if TYPE_CHECKING:
    from kmax_tf.evaluation.report.gallery import Picture
    from kmax_tf.labels import LabelSpace

# A confusion matrix of more classes than these can't be read: the most confused are shown.
_MOST_CLASSES = 32
_MOST_PAIRS = 12


def write_report(
    folder: PathLike,
    result: Result,
    labels: LabelSpace,
    confusion: np.ndarray,
    pictures: Mapping[str, Sequence[Picture]],
    title: str,
) -> str:
    """Writes FOLDER/report.html, whole or not at all.

    Args:
      folder: where it goes.
      result: of `PanopticMetrics.result`; "notes", a list of sentences, are shown where there are.
      labels: the classes.
      confusion: [K, K+1] pixels: true class, predicted class (the last: unlabeled).
      pictures: by heading, such as "worst images".
      title: of the page.

    Returns:
      The file's path.

    Raises:
      OutputError: the file can't be written.
    """
    page = templates().get_template("report.html")
    text = page.render(
        title=title,
        result={"notes": [], **result},
        groups=_groups(result),
        colors={c.name: "rgb({},{},{})".format(*c.color) for c in labels.classes},
        confusion=_confusion(confusion, [category.name for category in labels.classes]),
        pictures={heading: shown for heading, shown in pictures.items() if shown},
    )
    path = os.path.join(os.fspath(folder), "report.html")
    write_atomically(path, text)
    return path


def templates() -> jinja2.Environment:
    """Returns the templates, which escape what they are given."""
    environment = page_templates("kmax_tf.evaluation.report")
    environment.filters["score"] = format_score
    environment.tests["undefined_score"] = math.isnan
    environment.globals["heat"] = _heat
    return environment


def _heat(share: float, right: bool) -> str:
    """Returns the color of a cell: green where the class is right, red where it is wrong."""
    strength = share**0.6
    target = (24, 120, 72) if right else (196, 38, 46)
    red, green, blue = (round(246 + strength * (channel - 246)) for channel in target)
    return f"rgb({red},{green},{blue})"


def _groups(result: Result) -> list[dict[str, Any]]:
    """Returns things and stuff: scores of all, and of each class, the best first."""
    groups = []
    for name in ("things", "stuff"):
        rows, total = group_of(result, name)
        by_pq = sorted(rows.items(), key=lambda row: np.nan_to_num(row[1]["pq"], nan=-1.0))
        if rows:
            groups.append({"name": name, "total": total, "classes": by_pq[::-1]})
    return groups


class _Confusion(NamedTuple):
    """What true classes were predicted as.

    Attributes:
      shares: [R, C] of a true class' pixels.
      rows: names of true classes.
      columns: names of predicted classes.
      present: how many classes there are in truth and predictions.
      pairs: (true, predicted, share, pixels) of the largest errors, the largest first.
    """

    shares: list[list[float]]
    rows: list[str]
    columns: list[str]
    present: int
    pairs: list[tuple[str, str, float, int]]


def _confusion(confusion: np.ndarray, names: list[str]) -> Optional[_Confusion]:
    pixels = confusion.sum(axis=1)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    present = np.flatnonzero(confusion[:, :-1].sum(axis=0) + pixels)
    involved = wrong.sum(axis=1) + wrong[:, :-1].sum(axis=0)
    shown = np.sort(present[np.argsort(-involved[present], kind="stable")][:_MOST_CLASSES])
    if not len(shown) or not pixels.sum():
        return None
    shares = confusion / np.maximum(pixels, 1)[:, np.newaxis]
    predicted_names = [*names, "nothing"]
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    return _Confusion(
        shares=shares[shown][:, [*shown, -1]].tolist(),
        rows=[names[index] for index in shown],
        columns=[predicted_names[index] for index in (*shown, -1)],
        present=len(present),
        pairs=[
            (names[t], predicted_names[p], float(shares[t, p]), int(wrong[t, p]))
            for t, p in zip(*np.unravel_index(order, wrong.shape))
            if wrong[t, p]
        ],
    )
