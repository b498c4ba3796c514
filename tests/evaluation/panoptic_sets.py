"""Sets of COCO panoptic files for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kmax_tf.panoptic.png import encode_ids

CATEGORIES = [
    {"id": 3, "name": "dog", "isthing": 1, "color": [200, 60, 40]},
    {"id": 5, "name": "cat", "isthing": 1, "color": [40, 180, 90]},
    {"id": 8, "name": "road", "isthing": 0, "color": [128, 64, 128]},
    {"id": 21, "name": "sky", "isthing": 0},
]
IDS = [category["id"] for category in CATEGORIES]
THINGS = {3, 5}


def write_set(folder: Path, images) -> tuple[Path, Path]:
    """Writes (true ids, true segments_info, predicted ids, predicted segments_info) each.

    Returns:
      The JSONs of the ground truth and of the predictions.
    """
    truth = {"annotations": [], "categories": CATEGORIES}
    predictions = {"annotations": []}
    for name in ("truth", "predictions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (true_ids, true_info, predicted_ids, predicted_info) in enumerate(images):
        for name, content, ids, info in (
            ("truth", truth, true_ids, true_info),
            ("predictions", predictions, predicted_ids, predicted_info),
        ):
            (folder / name / f"{number}.png").write_bytes(encode_ids(np.asarray(ids)))
            entry = {"image_id": number, "file_name": f"{number}.png", "segments_info": info}
            content["annotations"].append(entry)
    for name, content in (("truth", truth), ("predictions", predictions)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / "truth.json", folder / "predictions.json"
