"""Predictions in any format that Datumaro writes, read again to see what the format holds."""

from __future__ import annotations

import collections
import os
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.errors import OutputError, UserError
from kmax_tf.files.reading import names_in
from kmax_tf.interchange.datumaro_library import import_datumaro, mask_of, quiet, shapes_of
from kmax_tf.interchange.polygons import PolygonMaker
from kmax_tf.interchange.predictions import PredictedImage, Predictions
from kmax_tf.panoptic.entries import PREDICTED

# Formats whose readers have other names.
_READERS = {"yolo_ultralytics": "yolo", "mots_png": "mots", "mot_seq_gt": "mot_seq"}
# Some formats have these three only.
_SUBSET = "train"

# Pixels of each class of each image, as run lengths, by the image's id and the class' name.
_Pixels = dict[tuple[str, str], Any]


class Written(NamedTuple):
    """What was written.

    Attributes:
      images: how many.
      agreement: share of the pixels of what was to be written or is read again that are both; None
        where Datumaro can't read what it wrote.
    """

    images: int
    agreement: float | None


def write_with_datumaro(
    predictions: Predictions, folder: str, name: str, polygons: PolygonMaker | None = None
) -> Written:
    """Writes a dataset with its images.

    Args:
      predictions: with the folder of the images.
      folder: of the dataset, empty or not there.
      name: of the format, as Datumaro has it.
      polygons: draws polygons, which formats such as YOLO's need; None: masks stay masks.

    Raises:
      UserError: Datumaro isn't there, has no such format, or can't write it.
      OutputError: something is in the folder.
    """
    datumaro = import_datumaro()
    known = sorted(datumaro.Environment().exporters)
    if name not in known:
        raise UserError(
            f"Datumaro {datumaro.__version__} writes no '{name}'; it knows {', '.join(known)}"
        )
    if any(not found.startswith(".") for found in names_in(folder)):
        raise OutputError(f"{folder} isn't empty; Datumaro needs a folder of its own")
    labels = datumaro.LabelCategories()
    for category in predictions.categories:
        labels.add(category.name, attributes={"origin", "score"})  # else CVAT's format drops them
    items, meant = [], {}
    for image in predictions:
        items.append(_item(datumaro, predictions, image, labels, polygons))
        meant.update(_meant(image))
    with quiet():
        categories = {datumaro.AnnotationType.label: labels}
        dataset = datumaro.Dataset.from_iterable(items, categories=categories)
        try:
            dataset.export(folder, name, save_media=True)
        except Exception as error:  # every format raises its own
            raise UserError(f"Datumaro can't write these predictions as {name}: {error}") from error
        return Written(len(items), _agreement(meant, _read_again(datumaro, folder, name)))


def _item(
    datumaro: Any,
    predictions: Predictions,
    image: PredictedImage,
    labels: Any,
    polygons: PolygonMaker | None,
) -> Any:
    annotations = []
    for number, segment in enumerate(image.segments, 1):
        attributes: dict[str, Any] = {"origin": PREDICTED}
        if segment.score is not None:
            attributes["score"] = round(segment.score, 4)
        common = {
            "id": number,
            "group": number,
            "label": labels.find(segment.category.name)[0],
            "attributes": attributes,
        }
        if polygons is None:
            annotations.append(datumaro.Mask(image.ids == segment.id, **common))
        else:
            drawn, _ = polygons.draw(image, segment)
            annotations += [datumaro.Polygon(points, **common) for points in drawn]
    path = predictions.image_path(image)
    return datumaro.DatasetItem(
        id=os.path.splitext(image.file_name)[0],
        subset=_SUBSET,
        media=datumaro.Image.from_file(path=path, size=(image.height, image.width)),
        annotations=annotations,
    )


def _meant(image: PredictedImage) -> _Pixels:
    codes = collections.defaultdict(list)
    item = os.path.splitext(image.file_name)[0]
    for segment in image.segments:
        codes[item, segment.category.name].append(segment.code)
    return {key: rle_masks.merge(listed) for key, listed in codes.items()}


def _read_again(datumaro: Any, folder: str, name: str) -> _Pixels | None:
    """Returns what Datumaro's own reader finds; None if it can't read it."""
    try:
        dataset = datumaro.Dataset.import_from(folder, _READERS.get(name, name))
        labels = dataset.categories()[datumaro.AnnotationType.label]
        codes = collections.defaultdict(list)
        for item in dataset:
            height, width = item.media.size
            for parts in shapes_of(item.annotations)[0]:
                mask = np.asfortranarray(mask_of(parts, height, width), np.uint8)
                codes[str(item.id), str(labels[parts[0].label].name)].append(rle_masks.encode(mask))
    except Exception:  # every format raises its own
        return None
    return {key: rle_masks.merge(listed) for key, listed in codes.items()}


def _agreement(meant: _Pixels, found: _Pixels | None) -> float | None:
    if found is None:
        return None
    common = either = 0
    for key in meant.keys() | found.keys():
        codes = [pixels[key] for pixels in (meant, found) if key in pixels]
        either += int(rle_masks.area(rle_masks.merge(codes)))
        if len(codes) == 2:
            common += int(rle_masks.area(rle_masks.merge(codes, intersect=True)))
    return common / either if either else 1.0
