"""One HTML file that shows an evaluation to people: everything is inside, nothing is loaded."""

from __future__ import annotations

import base64
import html
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kmax_tf.evaluation.metrics import Result
from kmax_tf.evaluation.report.charts import (
    MOST_CLASSES,
    Bar,
    confusion_matrix,
    score_bar,
    size_chart,
    size_legend,
)
from kmax_tf.evaluation.report.style import SCRIPT, STYLE
from kmax_tf.files.writing import PathLike, write_atomically
from kmax_tf.wording import count_of

if TYPE_CHECKING:
    from kmax_tf.evaluation.report.gallery import Picture
    from kmax_tf.labels import LabelSpace

_GROUP_COLOR = "#7c8794"
_MOST_PAIRS = 12
_SIZES = ("small (below 32 x 32 pixels)", "medium", "large (96 x 96 pixels and more)")


def write_report(
    folder: PathLike,
    result: Result,
    label_space: LabelSpace,
    confusion: np.ndarray,
    pictures: Mapping[str, Sequence[Picture]],
    title: str,
) -> str:
    """Writes FOLDER/report.html, whole or not at all.

    Args:
      folder: where it goes.
      result: of `PanopticMetrics.result`; "notes", a list of sentences, are shown where there are.
      label_space: the classes.
      confusion: [K, K+1] pixels: true class, predicted class (the last: unlabeled).
      pictures: by heading, such as "worst images".
      title: of the page.

    Returns:
      The file's path.

    Raises:
      OutputError: the file can't be written.
    """
    sections = [
        ("classes", "Classes", _classes(result, label_space)),
        ("sizes", "Segments by size", _sizes(result)),
        ("confusion", "Confusion between classes", _confusion(confusion, label_space)),
        *(
            (name.split()[0].lower(), name, _gallery(shown))
            for name, shown in pictures.items()
            if shown
        ),
    ]
    if result.get("notes"):
        sections.append(("notes", "Notes", _notes(result["notes"])))
    links = "".join(f'<a href="#{key}">{html.escape(name)}</a>' for key, name, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{html.escape(name)}</h2>{content}</section>'
        for key, name, content in sections
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1><p>{_facts(result)}</p>{_cards(result)}<nav>{links}</nav>"
        f"{body}</main><script>{SCRIPT}</script></body></html>\n"
    )
    path = os.path.join(os.fspath(folder), "report.html")
    write_atomically(path, page)
    return path


def _facts(result: Result) -> str:
    images = count_of(result["images"], "image")
    step = f", step {result['step']:,}" if "step" in result else ""
    return f"{images} at {result['resolution']} resolution{step}. Scores are in percent."


def _cards(result: Result) -> str:
    ap = result["ap"].get("ap")
    cards = [
        ("PQ", result["pq"]["all"], " main"),
        ("PQ things", result["pq"]["things"], ""),
        ("PQ stuff", result["pq"]["stuff"], ""),
        ("SQ (masks)", result["sq"]["all"], ""),
        ("RQ (recognition)", result["rq"]["all"], ""),
        ("mIoU", result["miou"], ""),
        *([] if ap is None else [("mask AP", ap, "")]),
    ]
    return '<div class="cards">{}</div>'.format(
        "".join(
            f'<div class="card{kind}"><b>{_score(value)}</b><span>{name}</span></div>'
            for name, value, kind in cards
        )
    )


def _classes(result: Result, label_space: LabelSpace) -> str:
    colors = {c.name: "rgb({},{},{})".format(*c.color) for c in label_space.classes}
    heads = [("class", "name"), ("PQ, SQ, RQ", "name bar"), ("PQ", "")]
    heads += [(name, "") for name in ("SQ", "RQ", "IoU", "TP", "FP", "FN")]
    row = "".join(
        f'<th class="{kind}"{"" if "bar" in kind else " data-sort"}>{name}</th>'
        for name, kind in heads
    )
    bodies = []
    for group, thing in (("things", True), ("stuff", False)):
        rows = [(n, r) for n, r in result["per_class"].items() if r["thing"] == thing]
        if not rows:
            continue
        rows.sort(key=lambda item: -1.0 if math.isnan(item[1]["pq"]) else item[1]["pq"])
        rows.reverse()
        scores = {key: result[key][group] for key in ("pq", "sq", "rq")}
        total = {k: sum(r[k] for _, r in rows) for k in ("tp", "fp", "fn")}
        iou = [r["iou"] for _, r in rows if not math.isnan(r["iou"])]
        mean = {"iou": float(np.mean(iou)) if iou else math.nan}
        lines = [_class_row(group, {**scores, **total, **mean}, _GROUP_COLOR, "group")]
        lines += [_class_row(name, values, colors[name], "class") for name, values in rows]
        bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    explanation = (
        "<p>The bar is PQ, the line SQ (how well matched masks fit), the dot RQ (how many segments "
        "are found, and how few invented). Click a heading to sort.</p>"
    )
    return f"{explanation}<table><thead><tr>{row}</tr></thead>{''.join(bodies)}</table>"


def _class_row(name: str, row: Mapping[str, Any], color: str, kind: str) -> str:
    bar = score_bar(Bar(row["pq"], row["sq"], row["rq"], color))
    kind += " absent" if math.isnan(row["pq"]) else ""
    swatch = "" if "group" in kind else f'<i style="background:{color}"></i>'
    scores = "".join(f"<td>{_score(row[key])}</td>" for key in ("pq", "sq", "rq", "iou"))
    counts = "".join(f"<td>{row[key]}</td>" for key in ("tp", "fp", "fn"))
    return (
        f'<tr class="{kind}"><td class="name">{swatch}{html.escape(name)}</td>'
        f'<td class="bar">{bar}</td>{scores}{counts}</tr>'
    )


def _sizes(result: Result) -> str:
    by_size = result["pq_by_size"]
    groups = {
        group: {size: row[group] for size, row in by_size.items()}
        for group in ("all", "things", "stuff")
    }
    rows = "".join(
        f'<tr><td class="name">{size}</td><td>{_score(row["all"])}</td><td>{row["tp"]}</td>'
        f"<td>{row['fp']}</td><td>{row['fn']}</td></tr>"
        for size, row in by_size.items()
    )
    heads = "".join(f"<th>{name}</th>" for name in ("PQ", "matched", "invented", "missed"))
    return (
        "<p>PQ of the segments of a size alone. Matched and missed segments have the size of the "
        "true one, invented ones their own.</p>"
        f"<p>{size_legend(_SIZES)}</p>"
        f'<div class="side"><div>{size_chart(groups)}</div><div><table><thead><tr>'
        f'<th class="name">segments</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</div>"
    )


def _confusion(confusion: np.ndarray, label_space: LabelSpace) -> str:
    names = [category.name for category in label_space.classes]
    pixels = confusion.sum(axis=1)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    present = np.flatnonzero(confusion[:, :-1].sum(axis=0) + pixels)
    involved = wrong.sum(axis=1) + wrong[:, :-1].sum(axis=0)
    shown = np.sort(present[np.argsort(-involved[present], kind="stable")][:MOST_CLASSES])
    if not len(shown) or not pixels.sum():
        return "<p>No labeled pixels.</p>"
    shares = confusion / np.maximum(pixels, 1)[:, np.newaxis]
    chart = confusion_matrix(
        shares[shown][:, [*shown, -1]],
        [names[index] for index in shown],
        [*(names[index] for index in shown), "nothing"],
    )
    which = "" if len(shown) == len(present) else f" The {len(shown)} most confused are shown."
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    lines = []
    for true, predicted in zip(*np.unravel_index(order, wrong.shape)):
        if not wrong[true, predicted]:
            break
        share = float(shares[true, predicted])
        width = 1 + round(120 * share)
        other = [*names, "nothing"][predicted]
        lines.append(
            f'<tr><td class="name">{html.escape(names[true])}</td>'
            f'<td class="name">{html.escape(other)}</td><td class="name">'
            f'<span class="share" style="width:{width}px"></span>{100 * share:.1f} %</td>'
            f"<td>{wrong[true, predicted]:,}</td></tr>"
        )
    table = (
        '<table><thead><tr><th class="name">true class</th><th class="name">predicted as</th>'
        '<th class="name">of its pixels</th><th>pixels</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return (
        "<p>What the pixels of each true class (rows) were predicted as (columns), in percent; "
        f"unlabeled pixels don't count.{which}</p>"
        f'<div class="side"><div>{chart}</div><div>{table}</div></div>'
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    figures = "".join(_figure(picture) for picture in pictures)
    return (
        "<p>By the panoptic quality of the image alone, all its segments alike. Errors are red "
        "where the class is wrong or nothing is predicted, orange where the class is right but the "
        f"segment isn't the one that matches, hatched where the truth is unlabeled.</p>{figures}"
    )


def _figure(picture: Picture) -> str:
    image_id, quality = picture.ranked
    panels = "".join(
        f'<div><img alt="{caption}" src="{_data_uri(jpeg)}">{caption}</div>'
        for caption, jpeg in picture.panels
    )
    return (
        f"<figure><figcaption><b>PQ {_score(100 * quality.pq)}</b>{html.escape(str(image_id))} "
        f"<span>{quality.tp} matched, {quality.fn} missed, {quality.fp} invented</span>"
        f'</figcaption><div class="panels">{panels}</div></figure>'
    )


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _notes(notes: Sequence[str]) -> str:
    lines = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{lines}</ul>'


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
