"""Where tools put COCO's instance annotations and their images."""

from __future__ import annotations

import dataclasses
import functools
import os

from kmax_tf.conversion.coco_format import Split
from kmax_tf.conversion.coco_instances import (
    InstancesJson,
    Refused,
    read_instances,
    unlisted_images,
)
from kmax_tf.conversion.instance_examples import split_of_instances
from kmax_tf.conversion.layouts import plain_name, splits_of_pattern
from kmax_tf.conversion.painting import PaintingRules
from kmax_tf.errors import UserError
from kmax_tf.files.image_index import ImageIndex
from kmax_tf.files.reading import is_file, is_folder
from kmax_tf.panoptic.coco_json import read_json
from kmax_tf.wording import count_of, some

_SPLIT = "{split}"
# What tools call splits, and what we do; other names stay.
_SPLIT_NAMES = {
    "training": "train",
    "default": "train",  # CVAT, Datumaro: of a project without subsets
    "": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A place of annotations, and one of their images, in a dataset's folder.

    Attributes:
      tool: that writes so.
      json: path of the annotations; "{split}" stands for the split's name.
      images: folder of the images.
    """

    tool: str
    json: str
    images: str


# The first that fits a file counts.
LAYOUTS = (
    Layout("Roboflow", "{split}/_annotations.coco.json", "{split}"),
    Layout("Roboflow", "_annotations.coco.json", ""),
    Layout("COCO", "annotations/instances_{split}.json", "{split}"),
    Layout("CVAT", "annotations/instances_{split}.json", "images/{split}"),  # and Datumaro
    Layout("CVAT", "annotations/instances_{split}.json", "images"),
    Layout("FiftyOne", "{split}/labels.json", "{split}/data"),
    Layout("FiftyOne", "labels.json", "data"),
    Layout("Label Studio", "{split}/result.json", "{split}/images"),
    Layout("Label Studio", "result.json", "images"),
    Layout("COCO", "annotations/{split}.json", "{split}"),
    Layout("COCO", "annotations/{split}.json", "images/{split}"),
    Layout("COCO", "annotations/{split}.json", "images"),
    Layout("COCO", "{split}.json", "{split}"),
    Layout("COCO", "{split}.json", "images/{split}"),
    Layout("COCO", "{split}.json", "images"),
)
# Files of COCO that stand where those of instances could, and are of other things.
_OTHERS = ("panoptic_", "captions_", "person_keypoints_", "stuff_", "image_info_", "unlabeled_")


@dataclasses.dataclass(frozen=True)
class FoundSplit:
    """A split, not read yet.

    Attributes:
      name: of its records.
      layout: where its files are.
      json: path of its annotations.
      images: folder of its images.
    """

    name: str
    layout: Layout
    json: str
    images: str


def record_split(split: str) -> str:
    """Returns what a split is called in records, such as "val" for Roboflow's "valid"."""
    plain = plain_name(split)
    return _SPLIT_NAMES.get(plain.lower(), plain)


def find_instance_splits(root: str) -> list[FoundSplit]:
    """Returns the splits in a folder; none where no layout fits.

    Raises:
      UserError: there are annotations, but no folder of their images, or two files for one split.
    """
    found: dict[str, FoundSplit] = {}
    without: dict[str, list[str]] = {}
    for layout in LAYOUTS:
        for split in _splits(root, layout.json):
            path = os.path.join(root, layout.json.replace(_SPLIT, split))
            images = os.path.join(root, layout.images.replace(_SPLIT, split)).rstrip("/")
            if path in found or os.path.basename(path).startswith(_OTHERS):
                continue
            any_name = layout.json.endswith(f"{_SPLIT}.json") and "instances" not in layout.json
            if any_name and not _lists_instances(path):
                continue
            if is_folder(images):
                found[path] = FoundSplit(record_split(split), layout, path, images)
            else:
                without.setdefault(path, []).append(images)
    missing = without.keys() - found.keys()
    if missing:
        path = min(missing)
        raise UserError(
            f"the images of {path} are in none of the folders {some(without[path])}; put them there"
        )
    splits = sorted(found.values(), key=lambda split: (split.name != "train", split.name))
    if len(splits) == 1 and splits[0].name not in ("val", "test"):
        return [dataclasses.replace(splits[0], name="train")]
    for first, second in zip(splits, splits[1:]):
        if first.name == second.name:
            raise UserError(
                f"{first.json} and {second.json} would both be the split {first.name}; move one "
                "away"
            )
    return splits


def read_instance_splits(splits: list[FoundSplit], no_crowd: bool = False) -> list[InstancesJson]:
    """Reads the annotations of splits; raises UserError where a file can't be read."""
    return [read_instances(split.json, no_crowd) for split in splits]


def pair_splits(
    splits: list[FoundSplit], files: list[InstancesJson], rules: PaintingRules, unused: Refused
) -> dict[str, Split]:
    """Pairs the annotations of each split with its images, by the name of the split.

    What isn't of a single split, categories that nothing has and images that no file lists, is
    told with the first.
    """
    folders = dict.fromkeys(split.images for split in splits)
    indices = {folder: ImageIndex(folder) for folder in folders}
    paired = {
        split.name: split_of_instances(file, indices[split.images], rules)
        for split, file in zip(splits, files)
    }
    strays = list(unused)
    for folder, index in indices.items():
        there = [file for split, file in zip(splits, files) if split.images == folder]
        strays += unlisted_images(there, index)
    first = paired[splits[0].name]
    paired[splits[0].name] = dataclasses.replace(first, refused=[*first.refused, *strays])
    return paired


def describe_instances(splits: list[FoundSplit], files: list[InstancesJson]) -> str:
    """Says what was found and why, as in "COCO instances, Roboflow layout: train 812 images"."""
    names = {i.category for file in files for listed in file.instances.values() for i in listed}
    counts = ", ".join(f"{split.name} {len(file.images)}" for split, file in zip(splits, files))
    layout = splits[0].layout
    return (
        f"COCO instances, {layout.tool} layout ({layout.json} with images in "
        f"{layout.images or 'the same folder'}): {counts} images, "
        f"{count_of(len(names), 'class')} with annotations"
    )


@functools.lru_cache(maxsize=64)
def _lists_instances(path: str) -> bool:
    """Returns whether a JSON of any name has instances."""
    try:
        content = read_json(path, "any")
    except UserError:
        return False
    return any(
        isinstance(entry, dict) and "segments_info" not in entry and "category_id" in entry
        for entry in content["annotations"]
    )


def _splits(root: str, pattern: str) -> list[str]:
    if _SPLIT in pattern:
        return splits_of_pattern(root, pattern)
    return [""] if is_file(os.path.join(root, pattern)) else []
