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
      images: folder of the images.
    """

    json: str = "annotations/panoptic_{split}.json"
    maps: str = ""
    images: str = "{split}"


def plain_name(split: str) -> str:
    """Returns the name of a split without the year that COCO's have: train2017 is train."""
    return _YEAR.sub("", split) or split


def find_splits(root: str, patterns: TreePatterns) -> list[str]:
    """Returns the names for which there is a JSON, such as train2017.

    The name may be a part of a file's or of a folder's, as in {split}/panoptic.json.

    Raises:
      UserError: there is none.
    """
    before, mark, _ = patterns.json.partition(_SPLIT)
    if not mark:
        return ["train"]
    # The first folder or file whose name has the split's in it.
    above, start = os.path.split(before)
    part = start + patterns.json[len(before) :].partition("/")[0]
    first, *rest = map(re.escape, part.split(_SPLIT))
    fits = re.compile(f"{first}(?P<split>.+){'(?P=split)'.join(rest)}", re.DOTALL)
    found = [fits.fullmatch(name) for name in list_folder(os.path.join(root, above))]
    splits = [
        match["split"]
        for match in found
        if match and is_file(os.path.join(root, patterns.json.replace(_SPLIT, match["split"])))
    ]
    if not splits:
        raise UserError(
            f"no file {os.path.join(root, patterns.json)}, whatever the split; give --json if the "
            "annotations are elsewhere"
        )
    return sorted(splits, key=lambda split: (not split.startswith("train"), split))


def read_tree(root: str, split: str, patterns: TreePatterns) -> Split:
    """Reads a split of COCO panoptic files.

    Raises:
      UserError: the JSON is missing, broken or without annotations, or a folder is missing.
    """
    maps_pattern = patterns.maps or os.path.splitext(patterns.json)[0]
    json_path, maps, images = (
        os.path.join(root, pattern.replace(_SPLIT, split))
        for pattern in (patterns.json, maps_pattern, patterns.images)
    )
    return read_panoptic_files(json_path, maps, images)


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """Divides a split in two by the names of its images; returns the larger, then the held-out.

    Which images are held out hardly changes when others come or go.
    """
    names = [annotation.name for annotation in split.annotations]
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
    kept = [annotation for annotation in split.annotations if annotation.name not in chosen]
    held_out = [annotation for annotation in split.annotations if annotation.name in chosen]
    return dataclasses.replace(split, annotations=kept), Split(held_out)


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
