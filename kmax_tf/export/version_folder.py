"""The folder of an export: its versions, and what lies beside a SavedModel. No TensorFlow here."""

from __future__ import annotations

import json
import os
import pathlib
import re
from typing import Optional

from kmax_tf.errors import UserError
from kmax_tf.labels import Category, LabelSpace

LABELS_FILE = os.path.join("assets.extra", "labels.json")
EXPERIMENT_FILE = os.path.join("assets.extra", "experiment.textproto")


def find_versions(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the SavedModels of a folder by their version; a half-written one may be among them.

    Args:
      folder: may not exist.
    """
    children = folder.iterdir() if folder.is_dir() else ()
    return {
        int(child.name): child
        for child in children
        if re.fullmatch(r"\d+", child.name) and (child / "saved_model.pb").exists()
    }


def find_export(folder: pathlib.Path) -> Optional[pathlib.Path]:
    """Returns the SavedModel that a folder means: itself or its newest version; None: it has none.

    Args:
      folder: may not exist.
    """
    if (folder / "saved_model.pb").exists():
        return folder
    versions = find_versions(folder)
    return versions[max(versions)] if versions else None


def labels_as_json(labels: LabelSpace) -> dict[str, object]:
    """Returns what the ids of the maps mean, for clients that don't have this package."""
    return {
        "dataset": labels.name,
        "label_divisor": labels.label_divisor,
        "ignore_label": labels.ignore_label,
        "num_ids": labels.num_ids,
        "classes": [
            {
                "id": category.id,
                "name": category.name,
                "thing": category.thing,
                "color": list(category.color),
                "original_id": category.original_id,
            }
            for category in labels.classes
        ],
    }


def read_labels(export: str | os.PathLike[str]) -> LabelSpace:
    """Reads what the ids of an exported model's maps mean.

    Args:
      export: folder of one version.

    Raises:
      UserError: the folder is not such an export, or is damaged.
    """
    path = os.path.join(export, LABELS_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        return LabelSpace(
            classes=tuple(
                Category(**{**entry, "color": tuple(entry["color"])}) for entry in data["classes"]
            ),
            num_ids=data["num_ids"],
            ignore_label=data["ignore_label"],
            label_divisor=data["label_divisor"],
            name=data["dataset"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{export} is not a SavedModel of `kmax export`, or is damaged: {path}: {error}"
        ) from error
