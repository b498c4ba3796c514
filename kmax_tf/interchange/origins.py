"""Where each label that comes back from a tool is from: a model, a model and a person, a person.

What came back is compared with what went out, mask by mask, since few tools keep notes.
"""

from __future__ import annotations

import collections
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle_masks

from kmax_tf.errors import UserError
from kmax_tf.files.reading import read_file
from kmax_tf.files.writing import write_atomically
from kmax_tf.interchange.label_studio import image_path_of, is_label_studio, region_code
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.entries import CORRECTED, DRAWN, PREDICTED
from kmax_tf.panoptic.fields import FieldError, ImageId, require_object
from kmax_tf.panoptic.instance_masks import decode_mask

# A mask with less in common with every prediction was drawn.
_LEAST_IOU = 0.5

Content = dict[str, Any]
Code = dict[str, Any]


class _Label(NamedTuple):
    """A mask of a class; `entry` is its annotation."""

    name: str
    code: Code
    entry: Content


class Comparison(NamedTuple):
    """What became of predictions.

    Attributes:
      content: COCO instances; each annotation's attributes say its origin.
      counts: of annotations by origin.
      deleted: predictions of which nothing came back, though their images did.
      absent: images that were sent and didn't come back.
      refused: name and reason of what isn't in the content.
    """

    content: Content
    counts: dict[str, int]
    deleted: int
    absent: list[str]
    refused: list[tuple[str, str]]


def compare(sent_path: str, returned_path: str) -> Comparison:
    """Compares what came back from a tool with what was sent.

    Args:
      sent_path: COCO instances, as `write_coco_instances` writes them.
      returned_path: COCO instances, or Label Studio's JSON.

    Raises:
      UserError: a file can't be read, or is of another format.
    """
    refused: list[tuple[str, str]] = []
    sent, returned = _read(sent_path), _read(returned_path)
    _check_kind(sent, sent_path)
    if is_label_studio(returned):
        returned = _of_label_studio(returned, sent, refused)
    _check_kind(returned, returned_path)
    before = _labels_by_image(sent, [])
    after = _labels_by_image(returned, refused)
    same_image = _same_images(before, after)
    counts: dict[str, int] = collections.Counter({PREDICTED: 0, CORRECTED: 0, DRAWN: 0})
    found = 0
    for name, labels in after.items():
        pairs = _pair(before.get(same_image.get(name, ""), []), labels)
        for label, (origin, matched) in zip(labels, pairs):
            attributes = label.entry.get("attributes")
            label.entry["attributes"] = {
                **(attributes if isinstance(attributes, dict) else {}),
                "origin": origin,
            }
            counts[origin] += 1
            found += matched
    listed = [label.entry for labels in after.values() for label in labels]
    content = {**returned, "annotations": listed}
    back = {same_image[name] for name in after if name in same_image}
    total = sum(len(before[name]) for name in back)
    absent = [name for name in before if name not in back]
    return Comparison(content, dict(counts), total - found, absent, refused)


def write_comparison(path: str, comparison: Comparison) -> None:
    """Writes the JSON of annotations with their origins; raises OutputError."""
    write_atomically(path, json.dumps(comparison.content) + "\n")


def _read(path: str) -> Any:
    try:
        return json.loads(read_file(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {reason}; export it again") from error


def _check_kind(content: Any, path: str) -> None:
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in lists
    ):
        raise UserError(
            f"{path} has no lists of images, annotations and categories (COCO instances); export "
            "the annotations as COCO, or Label Studio's as JSON"
        )


def _labels_by_image(
    content: Mapping[str, Any], refused: list[tuple[str, str]]
) -> dict[str, list[_Label]]:
    """Returns the labels of each image by its file name."""
    images: dict[ImageId, Mapping[str, Any]] = {}
    names: dict[ImageId, str] = {}
    labels: dict[str, list[_Label]] = {}
    for what in ("images", "categories", "annotations"):
        for number, entry in enumerate(content[what]):
            try:
                fields.require_object(entry)
                if what == "images":
                    images[fields.image_id(entry, "id")] = entry
                    labels[fields.text(entry, "file_name")] = []
                elif what == "categories":
                    names[fields.image_id(entry, "id")] = fields.text(entry, "name")
                else:
                    image = images.get(fields.image_id(entry, "image_id"))
                    name = names.get(fields.image_id(entry, "category_id"))
                    if image is None or name is None:
                        raise FieldError("its image or its category isn't listed")
                    label = _Label(name, _code(entry, image), dict(entry))
                    labels[fields.text(image, "file_name")].append(label)
            except FieldError as error:
                refused.append((f"{what}[{number}]", str(error)))
    return labels


def _code(entry: Mapping[str, Any], image: Mapping[str, Any]) -> Code:
    """Returns the pixels of an annotation; raises FieldError."""
    segmentation = entry.get("segmentation")
    if not segmentation:
        raise FieldError("it has no mask (segmentation)")
    height, width = fields.whole(image, "height", 1), fields.whole(image, "width", 1)
    mask = decode_mask(segmentation, height, width)
    code: Code = rle_masks.encode(np.asfortranarray(mask, np.uint8))
    return code


def _pair(before: Sequence[_Label], after: Sequence[_Label]) -> list[tuple[str, int]]:
    """Returns the origin of each label that came back, and 1 if it is of a prediction, else 0."""
    result = [(DRAWN, 0)] * len(after)
    if not before or not after:
        return result
    codes = [[label.code for label in labels] for labels in (after, before)]
    overlaps = np.asarray(rle_masks.iou(codes[0], codes[1], [False] * len(before)))
    taken: set[int] = set()
    places = zip(*np.unravel_index(np.argsort(-overlaps, axis=None, kind="stable"), overlaps.shape))
    done: set[int] = set()
    for mine, other in ((int(a), int(b)) for a, b in places):
        iou = overlaps[mine, other]
        if iou < _LEAST_IOU:
            break
        if mine in done or other in taken:
            continue
        done.add(mine)
        taken.add(other)
        same = iou == 1 and after[mine].name == before[other].name
        result[mine] = (PREDICTED if same else CORRECTED, 1)
    return result


def _same_images(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Returns which image of `before` each of `after` is: of the name, or of the end of its path.

    Tools put folders before names, or leave them out.
    """
    found = {}
    for name in after:
        if name in before:
            found[name] = name
            continue
        plain = "/" + urllib.parse.unquote(name).replace("\\", "/")
        alike = [other for other in before if plain.endswith("/" + other)]
        alike = alike or [other for other in before if ("/" + other).endswith(plain)]
        if len(alike) == 1:
            found[name] = alike[0]
        elif alike:
            found[name] = max(alike, key=len)
    return found


def _of_label_studio(
    tasks: Sequence[Any], sent: Content, refused: list[tuple[str, str]]
) -> Content:
    """Returns tasks as COCO instances, with the images and classes that were sent."""
    categories = [dict(entry) for entry in sent["categories"]]
    ids = {fields.text(e, "name"): fields.whole(e, "id") for e in categories}
    images = {fields.text(entry, "file_name"): dict(entry) for entry in sent["images"]}
    content: Content = {"images": [], "annotations": [], "categories": categories}
    for number, task in enumerate(tasks):
        name = f"task {number}"
        try:
            image, results = _task(task, images)
            content["images"].append(image)
        except FieldError as error:
            refused.append((name, str(error)))
            continue
        for result in results:
            try:
                label, code = region_code(require_object(result), image["height"], image["width"])
            except FieldError as error:
                refused.append((str(image["file_name"]), str(error)))
                continue
            if label not in ids:
                ids[label] = max([*ids.values(), 0]) + 1
                categories.append({"id": ids[label], "name": label, "isthing": 1})
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": ids[label],
                    "segmentation": {**code, "counts": code["counts"].decode("ascii")},
                    "area": int(rle_masks.area(code)),
                    "bbox": rle_masks.toBbox(code).tolist(),
                    "iscrowd": 0,
                }
            )
    return content


def _task(task: Any, images: dict[str, Content]) -> tuple[Content, list[Any]]:
    """Returns the image of a task, and the regions of its newest annotation."""
    data = require_object(task).get("data")
    url = next((str(value) for value in data.values()), "") if isinstance(data, dict) else ""
    path = image_path_of(url)
    name = _same_images(images, {path: None}).get(path)
    if name is None:
        raise FieldError(f"its image {os.path.basename(path) or url!r} isn't one that was sent")
    listed = task.get("annotations")
    done = [
        entry
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and not entry.get("was_cancelled")
    ]
    if not done:
        raise FieldError("nobody has annotated it")
    results = max(done, key=lambda entry: str(entry.get("updated_at", ""))).get("result")
    return images[name], results if isinstance(results, list) else []
