"""Predictions in any format that Datumaro writes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kmax_tf.errors import UserError
from kmax_tf.interchange.datumaro_library import import_datumaro
from kmax_tf.interchange.polygons import PolygonMaker
from kmax_tf.interchange.predictions import PredictedImage, Predictions
from kmax_tf.wording import some


def write_with_datumaro(
    predictions: Predictions, folder: str, name: str, polygons: PolygonMaker | None = None
) -> int:
    """Writes a dataset with its images; returns how many it has.

    Args:
      predictions: with the folder of the images.
      folder: of the dataset, empty or not there.
      name: of the format, as Datumaro has it.
      polygons: draws polygons, which formats such as YOLO's need; None: masks stay masks.

    Raises:
      UserError: Datumaro isn't there, has no such format, or can't write it.
    """
    datumaro = import_datumaro()
    known = sorted(datumaro.Environment().exporters)
    if name not in known:
        raise UserError(
            f"Datumaro {datumaro.__version__} writes no '{name}'; it knows {some(known)}"
        )
    places = {category.original_id: place for place, category in enumerate(predictions.categories)}
    items = [_item(datumaro, predictions, image, places, polygons) for image in predictions]
    names = [category.name for category in predictions.categories]
    dataset = datumaro.Dataset.from_iterable(items, categories=names)
    try:
        dataset.export(folder, name, save_media=True)
    except Exception as error:  # every format raises its own
        raise UserError(f"Datumaro can't write these predictions as {name}: {error}") from error
    return len(items)


def _item(
    datumaro: Any,
    predictions: Predictions,
    image: PredictedImage,
    places: dict[int, int],
    polygons: PolygonMaker | None,
) -> Any:
    annotations = []
    for number, segment in enumerate(image.segments, 1):
        attributes: dict[str, Any] = {"origin": "prediction"}
        if segment.score is not None:
            attributes["score"] = round(segment.score, 4)
        common = {
            "label": places[segment.category.original_id],
            "group": number,
            "attributes": attributes,
        }
        if polygons is None:
            mask = np.asarray(image.ids == segment.id)
            annotations.append(datumaro.Mask(mask, id=number, **common))
        else:
            drawn, _ = polygons.draw(image, segment)
            annotations += [datumaro.Polygon(points, id=number, **common) for points in drawn]
    path = predictions.image_path(image)
    return datumaro.DatasetItem(
        id=os.path.splitext(image.file_name)[0],
        subset="predictions",
        media=datumaro.Image.from_file(path=path, size=(image.height, image.width)),
        annotations=annotations,
    )
