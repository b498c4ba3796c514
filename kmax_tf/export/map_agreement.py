"""Whether an image has one panoptic map, bit for bit, whichever way it is predicted."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.export.predictor import Predictor, load_predictor
from kmax_tf.export.version_folder import find_export
from kmax_tf.files.images import read_image
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.coco_results import encode_panoptic
from kmax_tf.panoptic.png import read_ids

# Of different sizes, and not what the evaluation had.
_BATCH_SIZE = 5


def count_agreeing(
    submission: str | os.PathLike[str],
    models: Sequence[str | os.PathLike[str]],
    images: Mapping[str, str | os.PathLike[str]],
) -> int:
    """Counts images of which evaluation, `kmax predict` and servers have the same map.

    Args:
      submission: JSON that evaluator.py --submission=coco wrote.
      models: folders of exports and of runs, as `kmax predict` takes them; exports are also given
        the images' bytes, several at a time.
      images: files by name.

    Raises:
      UserError: the evaluation didn't have all of the images.
    """
    predictors = [load_predictor(model) for model in models]
    labels = predictors[0].labels
    evaluated = _evaluated(pathlib.Path(submission))
    missing = images.keys() - evaluated.keys()
    if missing:
        raise UserError(f"{submission} has no map of {min(missing)}")
    agreeing = dict.fromkeys(images, True)
    for name, path in images.items():
        image = read_image(path)
        for predictor in predictors:
            agreeing[name] &= _same(predictor(image)["panoptic"], evaluated[name], labels)
    for model, predictor in zip(models, predictors):
        for name, panoptic in (
            _served(predictor, images) if find_export(pathlib.Path(model)) else ()
        ):
            agreeing[name] &= _same(panoptic, evaluated[name], labels)
    return sum(agreeing.values())


def _evaluated(submission: pathlib.Path) -> dict[str, tuple[np.ndarray, list[dict[str, Any]]]]:
    """Returns the ids [H, W] and segments_info of a submission by the names of their images."""
    maps = {}
    for entry in json.loads(submission.read_text("utf-8"))["annotations"]:
        name = entry["file_name"]
        ids = read_ids(submission.with_suffix("") / name)
        maps[name.removesuffix(".png")] = ids, entry["segments_info"]
    return maps


def _same(
    panoptic: np.ndarray, evaluated: tuple[np.ndarray, list[dict[str, Any]]], labels: LabelSpace
) -> bool:
    """Returns whether a panoptic map would be written as one was, scores aside."""
    ids, segments_info = encode_panoptic(panoptic, labels)
    others = [{**entry} for entry in evaluated[1]]
    for entry in others:
        entry.pop("score", None)
    return np.array_equal(ids, evaluated[0]) and segments_info == others


def _served(
    predictor: Predictor, images: Mapping[str, str | os.PathLike[str]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields what the signature `image_bytes` says of each image."""
    names = list(images)
    for first in range(0, len(names), _BATCH_SIZE):
        batch = names[first : first + _BATCH_SIZE]
        encoded = [pathlib.Path(images[name]).read_bytes() for name in batch]
        outputs = predictor.image_bytes(image_bytes=tf.constant(encoded))
        for name, panoptic, (height, width) in zip(
            batch, outputs["panoptic"].numpy(), outputs["sizes"].numpy()
        ):
            yield name, panoptic[:height, :width]
