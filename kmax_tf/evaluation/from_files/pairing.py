"""Which prediction is of which image: by their ids, or by the names of their files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from kmax_tf.errors import UserError
from kmax_tf.evaluation.from_files.notes import notes_on_images, notes_on_segments
from kmax_tf.evaluation.from_files.panoptic_file import (
    ImageInfo,
    PanopticFile,
    compare_categories,
)
from kmax_tf.files.images import image_key
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic.coco_json import repeated
from kmax_tf.panoptic.fields import ImageId, as_number
from kmax_tf.wording import count_of, some

# Ways of matching, in the order in which they are tried.
WAYS = ("image_id", "file_name")
_Keys = Callable[[ImageInfo], Sequence[Hashable]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image of the ground truth and its prediction."""

    true: ImageInfo
    predicted: ImageInfo


class Pairing(NamedTuple):
    """Which images are evaluated.

    Attributes:
      pairs: in the order of the ground truth.
      way: in which they were matched, of `WAYS`.
      notes: what should be said about the files.
    """

    pairs: list[Pair]
    way: str
    notes: list[str]


def pair_images(
    truth: PanopticFile,
    predictions: PanopticFile,
    labels: LabelSpace,
    match_by: str | None = None,
) -> Pairing:
    """Finds the prediction of each image of the ground truth, and checks all that JSONs say.

    Ids go first, where "000000000139" is 139. Where they leave an image without a prediction,
    names of files do it: those of the images, of their PNGs, and ids that are names, without their
    endings.

    Args:
      truth: whose images are evaluated.
      predictions: of several for an image, the last one counts; others than those are left out.
      labels: the classes.
      match_by: the way to match, one of `WAYS`; None: whichever finds all.

    Raises:
      UserError: predictions or files are missing, contradict each other, or categories are unknown.
    """
    found = {way: _match(truth, predictions, way) for way in WAYS if way == (match_by or way)}
    best = max(found, key=lambda way: len(found[way]))
    if len(found[best]) < len(truth.images):
        raise _nothing_found(truth, predictions, found, best)
    if match_by is None and best == "image_id":
        _check_names(truth, found["image_id"], found["file_name"])
    pairs = [Pair(image, found[best][image.image_id]) for image in truth.images]
    _check_shared_pngs(truth, [pair.true for pair in pairs])
    _check_shared_pngs(predictions, [pair.predicted for pair in pairs])
    _check_pngs(pairs)
    notes = compare_categories(truth, predictions)
    _check_categories(pairs, predictions, labels)
    used = {pair.predicted.image_id for pair in pairs}
    notes += notes_on_images(truth, predictions, used)
    notes += notes_on_segments(truth, predictions, labels)
    return Pairing(pairs, best, notes)


def _match(truth: PanopticFile, predictions: PanopticFile, way: str) -> dict[ImageId, ImageInfo]:
    """Returns the predictions of true images that are found in a way."""
    keys_of_truth, keys_of_predictions = (
        _id_keys(truth, predictions) if way == "image_id" else _name_keys(file)
        for file in (truth, predictions)
    )
    # Names that several images have tell nothing.
    wanted = _unique(truth, keys_of_truth)
    known = _unique(predictions, keys_of_predictions)
    last = {image.image_id: image for image in predictions.images}
    found = {image_id: known[key] for key, image_id in reversed(wanted.items()) if key in known}
    shared = set(repeated(found.values()))
    return {image_id: last[other] for image_id, other in found.items() if other not in shared}


def _unique(file: PanopticFile, keys: _Keys) -> dict[Hashable, ImageId]:
    """Returns the image that a key belongs to, where it is one; the best keys come first."""
    owners: dict[Hashable, ImageId] = {}
    shared = set()
    images = {image.image_id: image for image in file.images}.values()
    of_image = [(image.image_id, keys(image)) for image in images]
    for place in range(max(len(of_one) for _, of_one in of_image)):
        for image_id, of_one in of_image:
            if place < len(of_one) and owners.setdefault(of_one[place], image_id) != image_id:
                shared.add(of_one[place])
    return {key: image_id for key, image_id in owners.items() if key not in shared}


def _id_keys(*files: PanopticFile) -> _Keys:
    """Reads ids of digits as numbers, unless that makes two ids of a file the same."""
    for file in files:
        ids = {image.image_id for image in file.images}
        if repeated(as_number(image_id) for image_id in ids):
            return lambda image: [image.image_id]
    return lambda image: [as_number(image.image_id)]


def _name_keys(file: PanopticFile) -> _Keys:
    """Returns the names by which a file knows an image: of the image, of the PNG, or its id."""

    def keys(image: ImageInfo) -> list[Hashable]:
        names = [file.file_names.get(image.image_id, ""), image.file_name]
        if isinstance(image.image_id, str):
            names.append(image.image_id)
        return [image_key(name) for name in names if name]

    return keys


def _nothing_found(
    truth: PanopticFile,
    predictions: PanopticFile,
    found: dict[str, dict[ImageId, ImageInfo]],
    best: str,
) -> UserError:
    missing = [image.image_id for image in truth.images if image.image_id not in found[best]]
    shares = ", ".join(f"{len(found[way])} by {way}" for way in found)
    there = f"{predictions.images[0].image_id!r} ({predictions.images[0].file_name})"
    return UserError(
        f"{predictions.path} has no prediction of {len(missing)} of "
        f"{count_of(len(truth.images), 'image')} of {truth.path}: image_id {some(missing)}; found "
        f"were {shares} (its first is {there}). Each image needs one; an image in which nothing "
        "was found has an empty segments_info."
    )


def _check_names(
    truth: PanopticFile,
    by_id: dict[ImageId, ImageInfo],
    by_name: dict[ImageId, ImageInfo],
) -> None:
    """Refuses to guess where a prediction has the id of one image and the name of another."""
    other = [i for i, image in by_name.items() if image.image_id != by_id[i].image_id]
    if other:
        first = other[0]
        name = next(image.file_name for image in truth.images if image.image_id == first)
        raise UserError(
            f"ids and file names contradict each other in {count_of(len(other), 'image')}: the "
            f"ground truth has image_id {first} as {name}, the predictions have that image_id as "
            f"{by_id[first].file_name}, and {by_name[first].file_name} as image_id "
            f"{by_name[first].image_id}. Correct the JSON, or say with --match-by image_id or "
            "--match-by file_name which of them is right."
        )


def _check_shared_pngs(file: PanopticFile, images: Sequence[ImageInfo]) -> None:
    """Refuses a PNG that several images have: one result was written over the other."""
    owners: dict[str, ImageId] = {}
    for image in images:
        other = owners.setdefault(image.path, image.image_id)
        if other != image.image_id:
            raise UserError(
                f"{file.path} gives the images {other!r} and {image.image_id!r} the same PNG, "
                f"{image.path}; each image needs its own"
            )


def _check_pngs(pairs: Sequence[Pair]) -> None:
    infos = [info for pair in pairs for info in (pair.true, pair.predicted)]
    absent = [info for info in infos if not os.path.isfile(info.path)]
    if not absent:
        return
    first = absent[0]
    base = os.path.splitext(first.path)[0]
    folder = first.path[: -len(first.file_name)]
    near = (f"{base}.png", os.path.join(folder, os.path.basename(first.file_name)))
    there = next((path for path in near if os.path.isfile(path)), None)
    hint = f"; there is {there}: correct file_name in the JSON" if there else ""
    missing = some(info.path for info in absent)
    raise UserError(f"{len(absent)} of {count_of(len(infos), 'PNG')} missing: {missing}{hint}")


def _check_categories(pairs: Sequence[Pair], predictions: PanopticFile, labels: LabelSpace) -> None:
    known = {category.original_id for category in labels.classes}
    unknown: dict[int, Pair] = {}
    for pair in pairs:
        for segment in pair.predicted.segments:
            if segment.category_id not in known:
                unknown.setdefault(segment.category_id, pair)
    if unknown:
        first = min(unknown)
        raise UserError(
            f"{predictions.path} has the category_id {some(sorted(unknown))}, which the ground "
            f"truth doesn't list (image_id {unknown[first].true.image_id} has {first}); known are "
            f"{min(known)} to {max(known)}. If they are ids of another numbering of the same "
            "classes, such as Cityscapes' train ids, name its description with --category-ids."
        )
