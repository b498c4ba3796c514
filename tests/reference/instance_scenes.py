"""Random scenes as COCO's instances, and the labels that pycocotools' masks of them make."""

import contextlib
import io
import json
import pathlib

import numpy as np
from PIL import Image
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO

CLASSES = ("bolt", "nut", "belt")  # the ids 1, 2, 3; belts are stuff


def write_scenes(json_path, images, count, rng):
    """Writes images and their annotations; returns the JSON's content."""
    images = pathlib.Path(images)
    images.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
    }
    for number in range(1, count + 1):
        height, width = (int(side) for side in rng.integers(12, 60, 2))
        name = f"scene {number:03d}.png"
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / name)
        size = {"height": height, "width": width}
        content["images"].append({"id": number, "file_name": name, **size})
        annotations = []
        while not annotations:
            listed = [_annotation(height, width, rng) for _ in range(rng.integers(1, 9))]
            annotations = [a for a in listed if _mask(a["segmentation"], height, width).any()]
        for annotation in annotations:
            annotation.update(id=len(content["annotations"]) + 1, image_id=number)
            content["annotations"].append(annotation)
    json_path = pathlib.Path(json_path)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(content))
    return content


def expected_label(json_path, image_id, overlaps="small", background=False, divisor=1000):
    """The label of an image, crowds unlabeled: by a naive painter of pycocotools' masks."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(json_path))
    annotations = coco.loadAnns(coco.getAnnIds(image_id))
    masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
    places = range(len(masks))
    if overlaps == "small":
        things = [annotation["category_id"] != 3 for annotation in annotations]
        places = sorted(places, key=lambda i: (things[i], -masks[i].sum(), i))
    places = sorted(places, key=lambda i: not annotations[i]["iscrowd"])
    seen = np.full(masks[0].shape, -1)
    for place in places:
        seen[masks[place]] = place
    label = np.zeros(seen.shape, np.int32)
    counts = dict.fromkeys((1, 2), 0)
    for place, annotation in enumerate(annotations):
        category = annotation["category_id"]
        visible = seen == place
        if annotation["iscrowd"] or not visible.any():
            continue
        if category != 3:
            counts[category] += 1
        label[visible] = category * divisor + counts.get(category, 0)
    if background:
        label[seen < 0] = 3 * divisor
    return label


def _annotation(height, width, rng):
    kind = rng.integers(4)
    segmentation = [_polygon(height, width, rng) for _ in range(rng.integers(1, 4))]
    if kind >= 2:
        mask = (
            rng.random((height, width)) < rng.random() if kind == 3 else np.zeros((height, width))
        )
        top, left = rng.integers(0, height - 5), rng.integers(0, width - 5)
        mask[top : top + rng.integers(2, 20), left : left + rng.integers(2, 20)] = 1
        mask = mask.astype(np.uint8)
        code = rle_masks.encode(np.asfortranarray(mask))
        segmentation = {"size": [height, width], "counts": code["counts"].decode()}
        if rng.random() < 0.5:
            changes = np.flatnonzero(np.diff(mask.ravel("F"))) + 1
            counts = np.diff([0, *changes, mask.size]).tolist()
            segmentation["counts"] = counts if not mask[0, 0] else [0, *counts]
    return {
        "category_id": int(rng.integers(1, 4)),
        "iscrowd": int(kind >= 2 and rng.random() < 0.3),
        "segmentation": segmentation,
    }


def _polygon(height, width, rng):
    """Floats or whole numbers, perhaps crossing itself, perhaps a little outside."""
    points = rng.uniform(-4, 4 + np.array([width, height]), (rng.integers(3, 9), 2))
    around = rng.uniform(0, [width, height])
    points = around + (points - around) * rng.uniform(0.1, 1)
    if rng.random() < 0.5:
        points = points.round()
    return [float(value) for value in points.ravel()]


def _mask(segmentation, height, width):
    if isinstance(segmentation, list):
        code = rle_masks.merge(rle_masks.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = rle_masks.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    return rle_masks.decode(code)
