"""Datasets of any format that Datumaro reads, as COCO instances, which we read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.reading import is_folder
from kmax_tf.files.writing import write_atomically
from kmax_tf.interchange.datumaro_library import (
    import_datumaro,
    quiet,
    segmentation_of,
    shapes_of,
)
from kmax_tf.interchange.image_sizes import upright_size
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError
from kmax_tf.wording import count_of

# Formats of images alone, and of tables, fit any folder.
_NOT_LABELS = ("image_dir", "image_zip", "tabular", "video_frames", "video_keyframes")


class Found(NamedTuple):
    """What Datumaro read.

    Attributes:
      format: its name.
      images: how many, by split.
      refused: name and reason of what has no mask, or no image.
    """

    format: str
    images: dict[str, int]
    refused: list[tuple[str, str]]

    @property
    def sentence(self) -> str:
        """Says what was found."""
        counts = ", ".join(f"{split} {count_of(n, 'image')}" for split, n in self.images.items())
        return f"Datumaro reads it as {self.format}: {counts}"


def detect_format(source: str) -> str:
    """Returns the name of the format that Datumaro finds in a folder.

    Of formats that include each other, such as voc and voc_segmentation, it is the whole.

    Raises:
      UserError: it finds none, or several.
    """
    datumaro = import_datumaro()
    if not is_folder(source):
        raise UserError(f"there is no folder {source}")
    with quiet():
        found = sorted(set(datumaro.Environment().detect_dataset(source)) - set(_NOT_LABELS))
    whole = [name for name in found if all(other.startswith(name) for other in found)]
    if whole:
        return str(whole[0])
    if found:
        raise UserError(
            f"Datumaro finds several formats in {source}: {', '.join(found)}; choose one with "
            "--format"
        )
    raise UserError(f"Datumaro finds no format in {source}; name it with --format: {_known()}")


def write_as_coco(source: str, name: str | None, folder: str) -> Found:
    """Writes folder/annotations/instances_SPLIT.json, and links to images in folder/images/SPLIT.

    Args:
      source: folder of the dataset.
      name: of the format, as Datumaro has it; None: it is detected.
      folder: of what is written.

    Raises:
      UserError: Datumaro isn't there, knows no such format, or can't read the folder.
      OutputError: a file can't be written.
    """
    datumaro = import_datumaro()
    if name is not None and name not in datumaro.Environment().importers:
        raise UserError(f"Datumaro {datumaro.__version__} reads no '{name}'; it knows {_known()}")
    name = name or detect_format(source)
    with quiet():
        try:
            dataset = datumaro.Dataset.import_from(source, name)
            labels = dataset.categories().get(datumaro.AnnotationType.label)
            items = sorted(dataset, key=lambda item: (item.subset, item.id))
        except Exception as error:  # every format raises its own
            reason = error.__cause__ or error
            raise UserError(
                f"Datumaro can't read {source} as {name}: {str(reason) or type(reason).__name__}"
            ) from error
        if labels is None or not len(labels):
            raise UserError(f"{source}, read as {name}, has no classes; see --format")
        return _write(items, [label.name for label in labels], name, folder)


def _write(items: Sequence[Any], labels: Sequence[str], name: str, folder: str) -> Found:
    found = Found(name, {}, [])
    categories = [{"id": place, "name": label} for place, label in enumerate(labels, 1)]
    contents: dict[str, dict[str, Any]] = {}
    for item in items:
        split = _split_name(item.subset)
        content = contents.setdefault(
            split, {"images": [], "annotations": [], "categories": categories}
        )
        try:
            _add(item, content, os.path.join(folder, "images", split), found.refused)
        except BadExampleError as error:
            found.refused.append((str(item.id), str(error)))
    for split, content in contents.items():
        path = os.path.join(folder, "annotations", f"instances_{split}.json")
        write_atomically(path, json.dumps(content) + "\n")
        found.images[split] = len(content["images"])
    if not any(content["annotations"] for content in contents.values()):
        first = f"; the first: {': '.join(found.refused[0])}" if found.refused else ""
        raise UserError(f"Datumaro reads no mask or polygon of a class as {name}{first}")
    return found


def _add(item: Any, content: dict[str, Any], images: str, refused: list[tuple[str, str]]) -> None:
    """Adds an image and its instances; raises BadExampleError."""
    file_name = _place_image(item, images)
    height, width = upright_size(os.path.join(images, file_name))
    image_id = len(content["images"]) + 1
    content["images"].append(
        {"id": image_id, "file_name": file_name, "height": height, "width": width}
    )
    instances, others = shapes_of(item.annotations)
    refused += [
        (str(item.id), f"{count_of(count, kind)} left out: only masks and polygons are labels")
        for kind, count in others.items()
    ]
    for parts in instances:
        try:
            segmentation = segmentation_of(parts, height, width)
        except ValueError as error:
            refused.append((str(item.id), f"{error}; it is left out"))
            continue
        entry = {
            "id": len(content["annotations"]) + 1,
            "image_id": image_id,
            "category_id": parts[0].label + 1,
            "segmentation": segmentation,
            "iscrowd": int(any(part.attributes.get("is_crowd", False) for part in parts)),
        }
        origin = parts[0].attributes.get("origin")
        content["annotations"].append(
            {**entry, "attributes": {"origin": origin}} if origin else entry
        )


def _place_image(item: Any, folder: str) -> str:
    """Lets an image be in a folder, as a link if it is a file; returns its path there."""
    source = getattr(item.media, "path", None)
    if item.media is None or not getattr(item.media, "has_data", False):
        where = f", {source}, isn't there" if source else " isn't in the dataset"
        raise BadExampleError(f"its image{where}; put it where the format has it")
    ending = os.path.splitext(source or "")[1] or getattr(item.media, "ext", None) or ".png"
    try:
        file_name = fields.file_name({"file_name": f"{item.id}{ending}".replace("\\", "/")})
    except FieldError as error:
        raise BadExampleError(f"it can't be named so: {error}") from error
    path = os.path.join(folder, file_name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    if source and os.path.isfile(source):
        os.symlink(os.path.abspath(source), path)
    else:
        item.media.save(path)
    return file_name


def _split_name(subset: str) -> str:
    """Returns the name of a split; Datumaro's "default" is that of a dataset without splits."""
    return subset or "default"


def _known() -> str:
    return ", ".join(sorted(set(import_datumaro().Environment().importers) - set(_NOT_LABELS)))
