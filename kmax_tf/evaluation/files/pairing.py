"""Which prediction is of which image: by their ids, or by the names of their files."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Hashable, Sequence

from kmax_tf.errors import UserError
from kmax_tf.evaluation.files.panoptic_file import ImageInfo, PanopticFile, stem
from kmax_tf.files.images import IMAGE_SUFFIXES
from kmax_tf.panoptic.coco_json import repeated, some
from kmax_tf.panoptic.fields import ImageId, as_number
from kmax_tf.wording import count_of

# Ways of matching, in the order in which they are tried.
WAYS = ("image_id", "file_name")
_Keys = Callable[[ImageInfo], Sequence[Hashable]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image of the ground truth and its prediction."""

    true: ImageInfo
    predicted: ImageInfo


def match_images(
    truth: PanopticFile, predictions: PanopticFile, way: str | None = None
) -> tuple[list[Pair], str]:
    """Finds the prediction of each image of the ground truth.

    Ids go first, where "000000000139" is 139. Where they leave an image without a prediction,
    names of files do it: those of the images, of their PNGs, and ids that are names, without their
    endings.

    Args:
      truth: whose images are evaluated.
      predictions: of several for an image, the last one counts.
      way: one of `WAYS`, to try no other.

    Returns:
      The pairs, in the order of the ground truth, and the way in which they were found.

    Raises:
      UserError: an image has no prediction, or ids and names contradict each other.
    """
    found = {tried: _match(truth, predictions, tried) for tried in WAYS if tried == (way or tried)}
    best = max(found, key=lambda tried: len(found[tried]))
    if len(found[best]) < len(truth.images):
        raise _nothing_found(truth, predictions, found, best)
    if way is None and best == "image_id":
        _check_names(truth, found["image_id"], found["file_name"])
    pairs = [Pair(image, found[best][image.image_id]) for image in truth.images]
    return pairs, best


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
        names = [file.file_names.get(image.image_id, ""), image.name]
        if isinstance(image.image_id, str):
            names.append(image.image_id)
        return [unicodedata.normalize("NFC", stem(name, IMAGE_SUFFIXES)) for name in names if name]

    return keys


def _nothing_found(
    truth: PanopticFile,
    predictions: PanopticFile,
    found: dict[str, dict[ImageId, ImageInfo]],
    best: str,
) -> UserError:
    missing = [image.image_id for image in truth.images if image.image_id not in found[best]]
    shares = ", ".join(f"{len(found[way])} by {way}" for way in found)
    there = f"{predictions.images[0].image_id!r} ({predictions.images[0].name})"
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
        name = next(image.name for image in truth.images if image.image_id == first)
        raise UserError(
            f"ids and file names contradict each other in {count_of(len(other), 'image')}: the "
            f"ground truth has image_id {first} as {name}, the predictions have that image_id as "
            f"{by_id[first].name}, and {by_name[first].name} as image_id "
            f"{by_name[first].image_id}. Mend the JSON, or say with --match-by image_id or "
            "--match-by file_name which of them is right."
        )
