"""Images with masks: a picture of classes for each image, or a mask for each of its segments.

ROOT/images/NAME.jpg has its labels in ROOT/masks:

- NAME.png, a picture of classes: grey or palette values, or the classes' colors;
- or the folder NAME with a mask for each segment, CLASS.png, or CLASS and a number (bolt_2.png).

With splits, each of both folders has one sub-folder a split.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from kmax_tf.data.coco_format import Split
from kmax_tf.data.images import BadExampleError, read_encoded, read_values
from kmax_tf.data.layouts import image_files
from kmax_tf.data.panoptic_ids import Areas, number_instance
from kmax_tf.data.records import LabeledImage
from kmax_tf.data.sources import is_file, is_folder, list_folder
from kmax_tf.errors import UserError
from kmax_tf.structures import Category, LabelSpace

# Pixel values that are unlabeled unless a class has them: usual for "nothing" and "ignore".
_UNLABELED_VALUES = (0, 255)
_NUMBER = re.compile(r"[ ._-]*\d+$")


@dataclasses.dataclass(frozen=True)
class MaskRules:
    """How masks become segments.

    Attributes:
      by_color: color pictures of classes have the classes' colors; else they must be grey. Grey
        and palette images have the classes' values in any case.
      components: names of the thing classes whose connected regions (8 neighbours) are an instance
        each; those of another thing class in an image are one instance together.
      min_area: smaller regions become unlabeled.
    """

    by_color: bool = False
    components: frozenset[str] = frozenset()
    min_area: int = 1


@dataclasses.dataclass(frozen=True)
class MaskAnnotation:
    """An image with its masks.

    Attributes:
      image_path: file of the image.
      masks: the picture of classes, or the mask of each segment.
      rules: how they become segments.
    """

    image_path: str
    masks: str | tuple[str, ...]
    rules: MaskRules

    @property
    def name(self) -> str:
        """Returns the image's file name without extension."""
        return _stem(self.image_path)

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of."""
        return (self.image_path, *((self.masks,) if isinstance(self.masks, str) else self.masks))

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its masks.

        Args:
          labels: the classes; their original_id is the value of pixels.
          treat_crowd_as_ignore: has no effect, as masks have no crowds.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other or the classes.
        """
        del treat_crowd_as_ignore
        image = read_encoded(self.image_path)
        shape = (image.height, image.width)
        if isinstance(self.masks, str):
            values = _of_size(read_values(self.masks), shape, self.masks)
            try:
                panoptic, areas = panoptic_of_classes(values, labels, self.rules)
            except BadExampleError as error:
                raise BadExampleError(f"{self.masks}: {error}") from error
        else:
            panoptic, areas = _panoptic_of_masks(self.masks, shape, labels)
        return LabeledImage(self.name, image, panoptic, areas)


def find_mask_splits(root: str) -> list[str]:
    """Returns the names of the splits: sub-folders of ROOT/images, or [""] where it has images.

    Raises:
      UserError: there are no images, or no folder ROOT/masks.
    """
    images, masks = os.path.join(root, "images"), os.path.join(root, "masks")
    for folder in (images, masks):
        if not is_folder(folder):
            raise UserError(f"no folder {folder}; images belong into images/, labels into masks/")
    if image_files(images):
        return [""]
    splits = [name for name in list_folder(images) if image_files(os.path.join(images, name))]
    if not splits:
        raise UserError(f"no images in {images} or in its folders")
    return sorted(splits, key=lambda split: (not split.startswith("train"), split))


def read_mask_split(root: str, split: str, rules: MaskRules) -> Split:
    """Finds the images of a split and their masks; nothing is opened.

    Raises:
      UserError: there are no images.
    """
    folder = os.path.join(root, "masks", split)
    images = image_files(os.path.join(root, "images", split))
    if not images:
        raise UserError(f"no images in {os.path.join(root, 'images', split)}")
    annotations = []
    refused = []
    seen: set[str] = set()
    for image in images:
        stem = _stem(image)
        picture, parts = os.path.join(folder, f"{stem}.png"), os.path.join(folder, stem)
        names = [name for name in list_folder(parts) if name.lower().endswith(".png")]
        if stem in seen:
            refused.append((os.path.basename(image), "another image has this name"))
        elif is_file(picture):
            annotations.append(MaskAnnotation(image, picture, rules))
        elif names:
            paths = tuple(os.path.join(parts, name) for name in names)
            annotations.append(MaskAnnotation(image, paths, rules))
        else:
            refused.append((stem, f"it has neither {picture} nor masks in the folder {parts}"))
        seen.add(stem)
    return Split(annotations, refused)


def panoptic_of_classes(
    values: np.ndarray, labels: LabelSpace, rules: MaskRules
) -> tuple[np.ndarray, Areas]:
    """Turns a picture of classes into panoptic ids.

    Args:
      values: [H, W] integer, or [H, W, C] uint8: grey and alpha, or colors.
      labels: the classes.
      rules: how they become segments.

    Returns:
      [H, W] int32 panoptic ids, and the areas of the segments.

    Raises:
      BadExampleError: values that are of no class.
    """
    by_color = rules.by_color and values.ndim == 3 and values.shape[-1] >= 3
    flat = _flat_values(values, by_color)
    codes = {(_color_code(c.color) if by_color else c.original_id): c.id for c in labels.classes}
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    present, positions = np.unique(flat[starts], return_inverse=True)
    unlabeled = (0,) if by_color else _UNLABELED_VALUES
    strange = [code for code in present.tolist() if code not in codes and code not in unlabeled]
    if strange:
        what = "colors" if by_color else "values"
        shown = [_shown_color(code) if by_color else str(code) for code in strange[:5]]
        raise BadExampleError(f"it has pixels of {what} that are of no class: {', '.join(shown)}")
    class_ids = np.array([codes.get(code, labels.ignore_label) for code in present.tolist()])
    class_map = np.repeat(class_ids[positions].astype(np.int32), lengths)
    class_map = class_map.reshape(values.shape[:2])  # [H, W]
    panoptic = class_map * labels.label_divisor
    areas: Areas = {}
    for category in labels.classes:
        if category.id in class_ids:
            numbers = _numbers(class_map == category.id, category, rules)
            _number(panoptic, numbers, category, labels, rules.min_area, areas)
    return panoptic, areas


def _numbers(mask: np.ndarray, category: Category, rules: MaskRules) -> np.ndarray:
    """Returns [H, W] int32: 0 outside a class, else the number of the region, from 1."""
    if category.name in rules.components and category.thing:
        numbers: np.ndarray = scipy.ndimage.label(mask, np.ones((3, 3)))[0]
        return numbers
    return mask.astype(np.int32)


def _number(
    panoptic: np.ndarray,
    numbers: np.ndarray,
    category: Category,
    labels: LabelSpace,
    min_area: int,
    areas: Areas,
) -> None:
    """Writes the ids of a class' regions into a panoptic map, and notes their areas."""
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(min_area, 1))
    table = np.full(len(sizes), labels.void_panoptic_id, np.int32)
    for count, number in enumerate(kept, start=1):
        table[number] = number_instance(count, category, labels)
    inside = numbers > 0
    panoptic[inside] = table[numbers[inside]]
    if len(kept):
        areas[category.id] = sizes[kept].tolist()


def _panoptic_of_masks(
    paths: Sequence[str], shape: tuple[int, int], labels: LabelSpace
) -> tuple[np.ndarray, Areas]:
    """Paints the masks of an image over each other: stuff first, then things, large ones first."""
    classes = {category.name: category for category in labels.classes}
    categories = [_class_of_mask(path, classes) for path in paths]
    masks = [_read_mask(path, shape) for path in paths]
    # What is small is in front of what is large, where masks overlap.
    order = sorted(
        range(len(paths)), key=lambda i: (categories[i].thing, -int(masks[i].sum()), paths[i])
    )
    index = np.zeros(shape, np.int32)
    for i in order:
        index[masks[i]] = i + 1
    sizes = np.bincount(index.ravel(), minlength=len(paths) + 1)
    table = np.full(len(paths) + 1, labels.void_panoptic_id, np.int32)
    areas: Areas = {}
    counts: dict[int, int] = {}
    for i, category in enumerate(categories):
        size = int(sizes[i + 1])
        if not size and category.thing:
            raise BadExampleError(f"{paths[i]} is empty, or hidden by other masks; remove it")
        counts[category.id] = counts.get(category.id, 0) + 1
        table[i + 1] = number_instance(counts[category.id], category, labels)
        if size:
            found = areas.setdefault(category.id, [])
            if category.thing or not found:
                found.append(size)
            else:
                found[0] += size
    return table[index], areas


def _class_of_mask(path: str, classes: dict[str, Category]) -> Category:
    stem = _stem(path)
    category = classes.get(stem) or classes.get(_NUMBER.sub("", stem))
    if category is None:
        known = ", ".join(list(classes)[:5])
        raise BadExampleError(
            f"{path} is named after no class; a mask is called CLASS.png, or CLASS and a number "
            f"(the classes: {known}{', ...' if len(classes) > 5 else ''})"
        )
    return category


def _read_mask(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns [H, W] bool. A pixel is inside if it has at least half of the brightest value."""
    values = _of_size(read_values(path), shape, path)
    if values.ndim == 3:
        # A picture that is opaque all over has its mask in its colors.
        has_alpha = values.shape[-1] in (2, 4) and int(values[..., -1].min()) < 255
        values = values[..., -1] if has_alpha else values[..., :3].max(axis=-1)
    brightest = int(values.max())
    inside: np.ndarray = values * 2.0 >= max(brightest, 1)
    return inside


def _of_size(values: np.ndarray, shape: tuple[int, int], path: str) -> np.ndarray:
    if values.shape[:2] != shape:
        raise BadExampleError(
            f"{path} is {values.shape[1]} x {values.shape[0]} but its image is {shape[1]} x "
            f"{shape[0]}; labels must have the size of their image"
        )
    return values


def _flat_values(values: np.ndarray, by_color: bool) -> np.ndarray:
    """Returns [P] integer values, or codes of colors."""
    if values.ndim == 2:
        return values.reshape(-1)
    channels = values[..., : 3 if values.shape[-1] >= 3 else 1].astype(np.int32)
    if by_color:
        codes: np.ndarray = channels @ np.array([65536, 256, 1], np.int32)
        return codes.reshape(-1)
    if (channels != channels[..., :1]).any():
        raise BadExampleError(
            "it is a color image; give every class its color in the list of classes, or save the "
            "classes' values as a grey PNG"
        )
    return channels[..., 0].reshape(-1)


def _color_code(color: tuple[int, int, int]) -> int:
    return color[0] * 65536 + color[1] * 256 + color[2]


def _shown_color(code: int) -> str:
    return f"#{code:06x}"


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
