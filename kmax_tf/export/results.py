"""What a prediction looks like as files."""

from __future__ import annotations

import io
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from kmax_tf.evaluation.coco_results import (
    annotation_entry,
    write_panoptic_json,
    write_panoptic_png,
)
from kmax_tf.figures import draw_panoptic
from kmax_tf.files import write_atomically
from kmax_tf.postprocessing.why import MaskReport, mask_reports
from kmax_tf.structures import LabelSpace


def result_names(paths: Sequence[str]) -> list[str]:
    """Returns a name for the results of each image: its own, numbered where several share it."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = pathlib.Path(path).stem
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def write_result(
    folder: str,
    name: str,
    image: np.ndarray,
    prediction: dict[str, np.ndarray],
    label_space: LabelSpace,
) -> None:
    """Writes NAME.png (ids as COCO encodes them), NAME.json (their segments), NAME_overlay.png.

    Args:
      folder: of the results.
      name: of the image.
      image: [H, W, 3] uint8.
      prediction: with panoptic [H, W], and segment_ids and segment_scores [N].
      label_space: what ids mean.

    Raises:
      OutputError: a file can't be written.
    """
    panoptic = prediction["panoptic"]
    scores = {
        int(panoptic_id): float(score)
        for panoptic_id, score in sorted(
            zip(prediction["segment_ids"], prediction["segment_scores"]), key=lambda pair: pair[1]
        )
    }
    base = os.path.join(folder, name)
    segments = write_panoptic_png(f"{base}.png", panoptic, label_space, scores)
    write_panoptic_json(
        f"{base}.json", [annotation_entry(name, f"{name}.png", segments)], label_space
    )
    picture = io.BytesIO()
    Image.fromarray(draw_panoptic(image, panoptic, label_space)).save(picture, "PNG")
    write_atomically(f"{base}_overlay.png", picture.getvalue())


def write_semantic(folder: str, name: str, semantic: np.ndarray, label_space: LabelSpace) -> None:
    """Writes NAME_semantic.png: the publisher's class ids, 0 where there is none.

    Args:
      folder: of the results.
      name: of the image.
      semantic: [H, W] int32 class ids.
      label_space: what ids mean.

    Raises:
      OutputError: the file can't be written.
    """
    table = np.zeros(len(label_space.class_index_of_id), np.uint16)
    for category in label_space.classes:
        table[category.id] = category.original_id
    ids = table[semantic]
    png = io.BytesIO()
    Image.fromarray(ids.astype(np.uint8) if ids.max() < 256 else ids).save(png, "PNG")
    write_atomically(os.path.join(folder, f"{name}_semantic.png"), png.getvalue())


def write_reports(
    folder: str, name: str, prediction: dict[str, np.ndarray], label_space: LabelSpace
) -> list[MaskReport]:
    """Writes NAME_why.json: what became of each center's mask.

    Returns:
      The reports, best rank first.

    Raises:
      OutputError: the file can't be written.
    """
    reports = mask_reports(prediction, label_space)
    content = json.dumps([report._asdict() for report in reports], indent=1)
    write_atomically(os.path.join(folder, f"{name}_why.json"), content + "\n")
    return reports
