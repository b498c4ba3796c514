"""JSONs of the COCO panoptic format, which Cityscapes' tools write too, for evaluation."""

from __future__ import annotations

import colorsys
import dataclasses
import os
from collections.abc import Mapping, Sequence

from kmax_tf.errors import UserError
from kmax_tf.files.reading import as_spelt, is_file
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.coco_json import (
    GROUND_TRUTH,
    Use,
    entries,
    parse_categories,
    read_panoptic_json,
    repeated,
)
from kmax_tf.panoptic.entries import Annotation, CategoryEntry
from kmax_tf.panoptic.fields import ImageId, as_number
from kmax_tf.wording import count_of, some

# More instances of a class in an image than any model predicts; times classes, it fits an int32.
_LABEL_DIVISOR = 1 << 16
_MOST_CLASSES = (1 << 15) - 2


@dataclasses.dataclass(frozen=True)
class ImageInfo(Annotation):
    """An annotation whose segments have ids of their own: of one id, the last counts.

    Attributes:
      path: of the PNG.
    """

    path: str


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """A JSON of the format and where its PNGs are.

    Attributes:
      path: of the JSON.
      images: its annotations, in order.
      categories: those that it lists.
      file_names: of the images (not the PNGs) by image id, where it lists them.
      repeated: number of entries of segments_info that a later one of the same id replaces.
    """

    path: str
    images: list[ImageInfo]
    categories: list[CategoryEntry]
    file_names: dict[ImageId, str]
    repeated: int


def read_panoptic_file(
    path: str, folder: str | None = None, use: Use = GROUND_TRUTH
) -> PanopticFile:
    """Reads a JSON of the format; every entry is checked before anything else happens.

    Args:
      path: of the JSON.
      folder: of the PNGs; by default the JSON's path without ".json", as COCO has it, or the JSON's
        own folder, as `kmax predict` has it.
      use: what must hold in it.

    Raises:
      UserError: a file is missing or of another format; it says which entry.
    """
    content = read_panoptic_json(path, use)
    folder = folder or _folder_of_pngs(path, content.annotations[0])
    if not os.path.isdir(folder):
        raise UserError(
            f"the folder {folder} of the PNGs of {path} doesn't exist; name theirs by "
            "--ground-truth-folder or --predictions-folder"
        )
    images, replaced = [], 0
    for annotation in content.annotations:
        by_id = {segment.id: segment for segment in annotation.segments}
        replaced += len(annotation.segments) - len(by_id)
        png = as_spelt(os.path.join(folder, annotation.file_name))
        images.append(
            ImageInfo(annotation.image_id, annotation.file_name, tuple(by_id.values()), png)
        )
    categories = parse_categories(entries(content.categories, "categories", path), path)
    return PanopticFile(path, images, categories, _of_annotations(content.images, images), replaced)


def _folder_of_pngs(path: str, first: Annotation) -> str:
    """Returns where the PNGs of a JSON are, judged by its first annotation."""
    folder, beside = os.path.splitext(path)[0], os.path.dirname(path)
    if os.path.isdir(folder) or not is_file(os.path.join(beside, first.file_name)):
        return folder
    return beside or os.curdir


def categories_of(file: PanopticFile) -> LabelSpace:
    """Returns the classes that a JSON lists; `original_id` is a category's id there.

    Ids in our maps are 1, 2, ... in the order of the list, and 0 is unlabeled.

    Raises:
      UserError: it lists none, or too many.
    """
    if not file.categories:
        raise UserError(f"{file.path} lists no categories; give the dataset's own ground truth")
    if len(file.categories) > _MOST_CLASSES:
        raise UserError(f"{file.path} lists {len(file.categories)} categories; {_MOST_CLASSES} fit")
    alike = set(repeated(entry.name for entry in file.categories))
    names = [
        f"{entry.name} ({entry.id})" if entry.name in alike else entry.name
        for entry in file.categories
    ]
    if len(set(names)) < len(names):
        raise UserError(
            f"several categories of {file.path} are named {some(sorted(alike))}; rename them"
        )
    classes = [
        Category(index + 1, name, entry.thing, entry.color or _spare_color(index), entry.id)
        for index, (entry, name) in enumerate(zip(file.categories, names))
    ]
    return LabelSpace(tuple(classes), len(classes) + 1, 0, _LABEL_DIVISOR, file.path)


def translate_categories(file: PanopticFile, table: Mapping[int, int]) -> PanopticFile:
    """Replaces category ids, such as Cityscapes' train ids by label ids.

    The file's own list of categories is dropped: it may be of either numbering.

    Args:
      file: whose segments are changed.
      table: other ids by category id; what isn't there stays.
    """
    images = [
        dataclasses.replace(
            image,
            segments=tuple(
                dataclasses.replace(s, category_id=table.get(s.category_id, s.category_id))
                for s in image.segments
            ),
        )
        for image in file.images
    ]
    return dataclasses.replace(file, images=images, categories=[])


def compare_categories(truth: PanopticFile, predictions: PanopticFile) -> list[str]:
    """Compares the categories of both files, where the predictions list any.

    Returns:
      What should be said about them.

    Raises:
      UserError: a category of the ground truth has another id in the predictions.
    """
    true = {entry.name: entry.id for entry in truth.categories}
    # A name that comes twice, as some datasets have, tells nothing.
    unclear = {
        *repeated(entry.name for entry in truth.categories),
        *repeated(entry.name for entry in predictions.categories),
    }
    moved = [
        entry
        for entry in predictions.categories
        if entry.name not in unclear and true.get(entry.name, entry.id) != entry.id
    ]
    if moved:
        first = moved[0]
        raise UserError(
            f"category '{first.name}' has the id {true[first.name]} in {truth.path}, but "
            f"{first.id} in {predictions.path}: {count_of(len(moved), 'category')} numbered "
            "otherwise. Give both the same ids, or name the description that knows both "
            "numberings with --category-ids."
        )
    by_id = {entry.id: entry for entry in truth.categories}
    other = [
        entry
        for entry in predictions.categories
        if entry.id in by_id
        and (entry.name, entry.thing) != (by_id[entry.id].name, by_id[entry.id].thing)
    ]
    if not other:
        return []
    return [
        f"{count_of(len(other), 'category')} with another name or isthing in {predictions.path}; "
        f"what the ground truth says counts: id {some(entry.id for entry in other)}"
    ]


def _of_annotations(
    names: Mapping[ImageId, str], images: Sequence[ImageInfo]
) -> dict[ImageId, str]:
    """Lets file names have the ids of annotations, where these differ as "7" and 7 do."""
    known = {image.image_id for image in images}
    if names.keys() <= known or len({as_number(i) for i in names}) < len(names):
        return dict(names)
    by_number = {as_number(image_id): image_id for image_id in known}
    return {
        image_id if image_id in known else by_number.get(as_number(image_id), image_id): name
        for image_id, name in names.items()
    }


def _spare_color(index: int) -> tuple[int, int, int]:
    """Returns a color for a category that has none: steps around the color wheel."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
