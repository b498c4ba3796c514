"""What a prediction looks like as files."""

from __future__ import annotations

import io
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
