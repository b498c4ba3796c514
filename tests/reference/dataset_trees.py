"""Trees of one image a split, laid out as the publishers of datasets ship theirs."""

import json

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (3, 4, 3), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))
# Segment ids, of which 70000 needs all three channels.
IDS = np.array(
    [
        [7, 7, 7, 7, 300, 300, 300, 300],
        [7, 7, 7, 7, 300, 300, 300, 300],
        [70000, 70000, 70000, 300, 9, 9, 0, 0],
        [70000, 70000, 70000, 70000, 9, 9, 0, 0],
        [70000, 70000, 70000, 70000, 5, 5, 5, 5],
        [70000, 70000, 70000, 70000, 5, 5, 5, 5],
    ],
    np.int32,
)


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_ids(path, ids):
    write_png(path, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8))


def write_jpeg(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGE).save(path, quality=95)


def segments(*infos):
    """Entries of (id, category_id, crowd)."""
    return [
        {"id": i, "category_id": c, "iscrowd": crowd, "area": int((i == IDS).sum()), "bbox": []}
        for i, c, crowd in infos
    ]


def write_json(path, image_id, image_name, map_name, infos):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "images": [{"id": image_id, "file_name": image_name, "width": 8, "height": 6}],
                "annotations": [
                    {"image_id": image_id, "file_name": map_name, "segments_info": infos}
                ],
                "categories": [],
            }
        )
    )


def coco(root, split="train"):
    """The category ids are COCO's: person 1, stop sign 13, grass-merged 193."""
    image = root / f"{split}2017" / "000000000009.jpg"
    write_jpeg(image)
    if split != "test":
        folder = root / "annotations"
        write_ids(folder / f"panoptic_{split}2017" / "000000000009.png", IDS)
        infos = segments((300, 1, 0), (7, 1, 0), (9, 13, 0), (5, 1, 1), (70000, 193, 0))
        write_json(
            folder / f"panoptic_{split}2017.json",
            9, "000000000009.jpg", "000000000009.png", infos,
        )  # fmt: skip
    return image


def cityscapes(root, split="train", suffix="_trainId"):
    """Cars, a road and a person group; the JSON's image names are of no file, as published."""
    name = "aachen_000000_000019"
    image = root / "leftImg8bit" / split / "aachen" / f"{name}_leftImg8bit.png"
    write_png(image, IMAGE)
    car, road, person, sky = (13, 0, 11, 10) if suffix else (26, 7, 24, 23)
    infos = segments((7, car, 0), (300, car, 0), (70000, road, 0), (9, person, 1), (5, sky, 0))
    stem = root / "gtFine" / f"cityscapes_panoptic_{split}{suffix}"
    write_ids(stem / f"{name}_gtFine_panoptic.png", IDS)
    write_json(
        stem.with_name(stem.name + ".json"),
        name, f"{name}_gtFine_leftImg8bit.png", f"{name}_gtFine_panoptic.png", infos,
    )  # fmt: skip
    return image


def ade20k(root, split="train"):
    """Two beds, a wall, other-objects; areas are those before things were painted over stuff."""
    folder = {"train": "training", "val": "validation", "test": "testing"}[split]
    name = f"ADE_{split}_00000001"
    image = root / "images" / folder / f"{name}.jpg"
    write_jpeg(image)
    if split == "test":
        return image
    infos = segments((7, 7, 0), (300, 7, 0), (70000, 0, 0), (9, 255, 0), (5, 149, 0), (999, 3, 0))
    infos[2]["area"] = 40
    write_ids(root / f"ade20k_panoptic_{split}" / f"{name}.png", IDS)
    write_json(root / f"ade20k_panoptic_{split}.json", name, f"{name}.jpg", f"{name}.png", infos)
    return image
