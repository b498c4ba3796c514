"""Predictions in the form in which `kmax predict` writes them, of random scenes."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.coco_results import write_annotation, write_panoptic_json

LABELS = LabelSpace(
    (
        Category(3, "cat", True, (200, 0, 30), 30),
        Category(1, 'dog & "puppy"', True, (20, 90, 200), 10),
        Category(2, "grass", False, (30, 160, 20), 20),
    ),
    num_ids=4,
    ignore_label=0,
    label_divisor=100,
    name="pets",
)


def random_panoptic(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A map [H, W] of boxes and noise, some of it unlabeled."""
    panoptic = np.zeros((height, width), np.int32)
    panoptic[height // 2 :] = 200
    for number in range(1, int(rng.integers(1, 7))):
        class_id = int(rng.choice([1, 3]))
        y, x = rng.integers(height), rng.integers(width)
        region = np.zeros((height, width), bool)
        region[y : y + rng.integers(1, height), x : x + rng.integers(1, width)] = True
        if rng.random() < 0.5:
            region &= rng.random((height, width)) < 0.8
        panoptic[region] = class_id * 100 + number
    return panoptic


def write_predictions(
    root: pathlib.Path, count: int = 4, seed: int = 0, numbered: bool = False
) -> list[np.ndarray]:
    """Writes root/images and root/predictions; returns the maps."""
    rng = np.random.default_rng(seed)
    entries, maps = [], []
    for number in range(count):
        name = f"{number + 7:012d}" if numbered else f"cam {number % 2}/frame é{number}"
        height, width = (int(n) for n in rng.integers(5, 40, 2))
        panoptic = random_panoptic(rng, height, width)
        image = root / "images" / f"{name}.{'jpg' if number % 2 else 'png'}"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(image)
        ids = np.unique(panoptic[panoptic > 0]).tolist()
        scores = {panoptic_id: 0.5 + place / 100 for place, panoptic_id in enumerate(ids)}
        folder = str(root / "predictions")
        entries.append(write_annotation(folder, name, None, panoptic, LABELS, scores))
        maps.append(panoptic)
    write_panoptic_json(root / "predictions" / "predictions.json", entries, LABELS)
    return maps
