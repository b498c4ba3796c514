"""Where a dataset's files are: in publishers' trees, and in anybody's COCO panoptic files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmax_tf.conversion.coco_format import Split, read_panoptic_files, read_split
from kmax_tf.errors import UserError
from kmax_tf.files.file_kinds import OTHER_SUFFIXES
from kmax_tf.files.images import IMAGE_SUFFIXES, read_encoded
from kmax_tf.files.reading import is_file, is_folder, list_folder
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError
from kmax_tf.panoptic.segment_ids import Conventions
from kmax_tf.records.examples import LabeledImage, image_names

_YEAR = re.compile(r"(19|20)\d\d$")
_SPLIT = "{split}"
# Where COCO has the images of panoptic annotations; then Datumaro and others.
_IMAGE_FOLDERS = ("{split}", "images/{split}", "images")


@dataclasses.dataclass(frozen=True)
class UnlabeledImage:
    """An image without annotation, as of a test split.

    Attributes:
      image_path: file of the image.
      name: what it is known by (`records.image_names`).
    """

    image_path: str
    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of."""
        return (self.image_path,)

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool) -> LabeledImage:
        """Reads and checks the image; raises BadExampleError."""
        del labels, treat_crowd_as_ignore
        return LabeledImage(self.name, read_encoded(self.image_path), None)


@dataclasses.dataclass(frozen=True)
class TreePatterns:
    """Where the parts of a split are in a folder; "{split}" stands for its name.

    Attributes:
      json: COCO panoptic annotations.
      maps: folder of the PNGs; empty is the JSON's path without its ending.
      images: folder of the images; empty is the first of _IMAGE_FOLDERS that is there.
    """

    json: str = "annotations/panoptic_{split}.json"
    maps: str = ""
    images: str = ""


def plain_name(split: str) -> str:
    """Returns the name of a split without the year that COCO's have: train2017 is train."""
    return _YEAR.sub("", split) or split


def find_splits(root: str, patterns: TreePatterns) -> list[str]:
    """Returns the names for which there is a JSON, such as train2017.

    The name may be a part of a file's or of a folder's, as in {split}/panoptic.json.

    Raises:
      UserError: there is none.
    """
    if _SPLIT not in patterns.json:
        return ["train"]
    splits = splits_of_pattern(root, patterns.json)
    if not splits:
        raise UserError(
            f"no file {os.path.join(root, patterns.json)}, whatever the split; give --json if the "
            "annotations are elsewhere"
        )
    return splits


def splits_of_pattern(root: str, pattern: str) -> list[str]:
    """Returns what "{split}" may stand for in the path of a file: the training split first."""
    before = pattern.partition(_SPLIT)[0]
    # The first folder or file whose name has the split's in it.
    above, start = os.path.split(before)
    part = start + pattern[len(before) :].partition("/")[0]
    first, *rest = map(re.escape, part.split(_SPLIT))
    fits = re.compile(f"{first}(?P<split>.+){'(?P=split)'.join(rest)}", re.DOTALL)
    found = [fits.fullmatch(name) for name in list_folder(os.path.join(root, above))]
    splits = [
        match["split"]
        for match in found
        if match and is_file(os.path.join(root, pattern.replace(_SPLIT, match["split"])))
    ]
    return sorted(splits, key=lambda split: (not split.lower().startswith("train"), split))


def read_tree(root: str, split: str, patterns: TreePatterns) -> Split:
    """Reads a split of COCO panoptic files.

    Raises:
      UserError: the JSON is missing, broken or without annotations, or a folder is missing.
    """
    maps_pattern = patterns.maps or os.path.splitext(patterns.json)[0]
    images_pattern = patterns.images or next(
        (p for p in _IMAGE_FOLDERS if is_folder(os.path.join(root, p.replace(_SPLIT, split)))),
        _IMAGE_FOLDERS[0],
    )
    json_path, maps, images = (
        os.path.join(root, pattern.replace(_SPLIT, split))
        for pattern in (patterns.json, maps_pattern, images_pattern)
    )
    return read_panoptic_files(json_path, maps, images)


def hold_out(split: Split, share: float, seed: int = 0, group_by: str = "") -> tuple[Split, Split]:
    """Divides a split in two by the names of its images; returns the larger, then the held-out.

    Which images are held out hardly changes when others come or go.

    Args:
      split: to divide.
      share: of the images that is held out, nearly.
      seed: another one holds others out.
      group_by: images of one group (`group_of`) stay together; "": each is its own.

    Raises:
      UserError: there is one group only, or an image of no group.
    """
    groups: dict[str, list[str]] = {}
    for annotation in split.annotations:
        group = group_of(annotation.name, group_by) if group_by else annotation.name
        groups.setdefault(group, []).append(annotation.name)
    if group_by and len(groups) == 1:
        raise UserError(
            f"--group-by puts all images into one group, {next(iter(groups))!r}, so that none can "
            "be held out; give another one, or --hold-out 0"
        )
    salt = str(seed) if seed else ""
    order = sorted(groups, key=lambda name: hashlib.sha256((salt + name).encode()).digest())
    count = min(max(round(share * len(split.annotations)), 1), len(split.annotations) - 1)
    chosen: set[str] = set()
    for group in order[: len(groups) - 1]:
        if len(chosen) >= count:
            break
        chosen.update(groups[group])
    kept = [annotation for annotation in split.annotations if annotation.name not in chosen]
    held_out = [annotation for annotation in split.annotations if annotation.name in chosen]
    return dataclasses.replace(split, annotations=kept), Split(held_out)


def group_of(name: str, group_by: str) -> str:
    """Returns the part of an image's name that it shares with others of its group.

    Args:
      name: of the image, with folders.
      group_by: "folder", or a regular expression, whose first group, or whole match, it is.

    Raises:
      UserError: it is no regular expression, or none of this name.
    """
    if group_by == "folder":
        return os.path.dirname(name)
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise UserError(f"--group-by {group_by} is no regular expression: {error}") from error
    if match is None:
        raise UserError(f"--group-by {group_by} fits no part of {name}; make it fit all images")
    return str(match[1] if match.re.groups else match[0])


def image_files(folder: str) -> list[str]:
    """Returns the paths of the images in a folder, sorted; also of kinds that aren't read."""
    suffixes = (*IMAGE_SUFFIXES, *OTHER_SUFFIXES)
    names = (name for name in list_folder(folder) if name.lower().endswith(suffixes))
    return [os.path.join(folder, name) for name in names]


def _read_coco(root: str, split: str) -> Split:
    year = f"{split}2017"
    if split == "test" and not is_file(os.path.join(root, "annotations", f"panoptic_{year}.json")):
        return _unlabeled(os.path.join(root, year))
    return read_split(root, year)


def _read_cityscapes(root: str, split: str) -> Split:
    images = os.path.join(root, "leftImg8bit", split)
    if split == "test":
        # Its annotations, which are published, say nothing.
        return _unlabeled(images, list_folder(images) or [""])

    def image_name(entry: Mapping[str, Any]) -> str:
        # The JSON's file names are of no file; the id is what both sides have.
        image_id = fields.image_id(entry, "id")
        if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)+", str(image_id)):
            raise FieldError(
                f"its id {fields.show(image_id)} isn't of the form city_sequence_frame"
            )
        city = str(image_id).partition("_")[0]
        return f"{city}/{image_id}_leftImg8bit.png"

    stem = os.path.join(root, "gtFine", f"cityscapes_panoptic_{split}")
    for maps, by_train_id in ((f"{stem}_trainId", True), (stem, False)):
        if is_file(f"{maps}.json"):
            conventions = Conventions(by_record_id=by_train_id)
            return read_panoptic_files(f"{maps}.json", maps, images, conventions, image_name)
    raise UserError(
        f"no file {stem}_trainId.json; Cityscapes' own tool makes it: pip install "
        f"cityscapesscripts, then csCreatePanopticImgs --use-train-id --dataset-folder "
        f"{os.path.join(root, 'gtFine')}"
    )


def _read_ade20k(root: str, split: str) -> Split:
    archive = os.path.join(root, "ADEChallengeData2016")
    root = archive if is_folder(archive) else root
    folders = {"train": "training", "val": "validation", "test": "testing"}
    images = os.path.join(root, "images", folders.get(split, split))
    if split == "test":
        return _unlabeled(images)
    maps = os.path.join(root, f"ade20k_panoptic_{split}")
    # Things were painted over the stuff below them, whose areas the JSON gives as they were before.
    conventions = Conventions(unlabeled_categories=frozenset({255}), exact_areas=False)
    return read_panoptic_files(f"{maps}.json", maps, images, conventions)


def _unlabeled(images: str, folders: Sequence[str] = ("",)) -> Split:
    """Returns the images in folders of a folder, which have no labels."""
    names = [
        f"{folder}/{os.path.basename(path)}" if folder else os.path.basename(path)
        for folder in folders
        for path in image_files(os.path.join(images, folder))
    ]
    if not names:
        raise UserError(f"no images in {images}")
    paths = [os.path.join(images, name) for name in names]
    return Split([UnlabeledImage(*pair) for pair in zip(paths, image_names(names))])


# By the names of the shipped dataset descriptions; each reads a split, given the tree's folder and
# "train", "val" or "test".
LAYOUTS: dict[str, Callable[[str, str], Split]] = {
    "coco": _read_coco,
    "cityscapes": _read_cityscapes,
    "ade20k": _read_ade20k,
}
