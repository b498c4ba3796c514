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
import unicodedata
from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from kmax_tf.conversion.coco_format import Split
from kmax_tf.conversion.label_pictures import LabelPicture, read_label_picture
from kmax_tf.conversion.layouts import image_files
from kmax_tf.conversion.mask_classes import MaskRules, classes_of, inside_of
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import IMAGE_SUFFIXES, EncodedImage, read_encoded
from kmax_tf.files.reading import as_spelt, is_folder, list_folder
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.segment_ids import Areas, number_instance
from kmax_tf.records.examples import LabeledImage
from kmax_tf.wording import some

# Of maps of ids (`id_maps`).
MAP_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
_NUMBER = re.compile(r"[ ._-]*\d+$")


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
        """Reads and checks the image and its masks, which have no crowds.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other or the classes.
        """
        del treat_crowd_as_ignore
        image = read_encoded(self.image_path)
        if isinstance(self.masks, str):
            picture = of_size(read_label_picture(self.masks), image, self.masks)
            try:
                panoptic, areas = panoptic_of_classes(picture, labels, self.rules)
            except BadExampleError as error:
                raise BadExampleError(f"{self.masks}: {error}") from error
        else:
            panoptic, areas = _panoptic_of_masks(self.masks, image, labels)
        return LabeledImage(self.name, image, panoptic, areas)


def find_mask_splits(root: str) -> list[str]:
    """Returns the names of the splits: sub-folders of ROOT/images, or [""] where it has images.

    Where it has both, those with masks are meant.

    Raises:
      UserError: there are no images, no folder ROOT/masks, or masks of images in both places; or a
        split has no masks.
    """
    images, masks = _folders(root, "")
    for folder in (images, masks):
        if not is_folder(folder):
            raise UserError(f"no folder {folder}; images belong into images/, labels into masks/")
    names = [name for name in list_folder(images) if image_files(os.path.join(images, name))]
    splits = sorted(names, key=lambda split: (not split.startswith("train"), split))
    own = {_key(path) for path in image_files(images)}
    labeled = [name for name in splits if name not in own and is_folder(_folders(root, name)[1])]
    if own & _masks_in(masks, MAP_SUFFIXES).keys() - set(labeled):
        if labeled:
            raise UserError(
                f"there are images with masks in {images} and in its folder {labeled[0]}; move "
                "them into folders of splits, or name the splits with --split"
            )
        return [""]
    if own and not labeled:
        return [""]
    without = [name for name in splits if name not in labeled]
    if without and not own:
        raise UserError(
            f"the images in {os.path.join(images, without[0])} have no folder of masks "
            f"{os.path.join(masks, without[0])}; add it, or name the splits with --split"
        )
    if not labeled:
        raise UserError(f"no images in {images} or in its folders")
    return labeled


def find_strays(root: str, splits: Sequence[str]) -> list[tuple[str, str]]:
    """Returns images of no split, each with what is wrong about it."""
    images, _ = _folders(root, "")
    known = ", ".join(splits)
    found = [] if "" in splits else image_files(images)
    return [
        (os.path.basename(path), f"it lies in {images}, beside the folders of splits: {known}")
        for path in found
    ]


def read_mask_split(
    root: str, split: str, rules: MaskRules, endings: tuple[str, ...] = IMAGE_SUFFIXES
) -> Split:
    """Finds the images of a split and their masks; nothing is opened.

    Args:
      root: folder of images/ and masks/.
      split: name of a folder in both; "" is both themselves.
      rules: how masks become segments.
      endings: of the files that are masks.

    Raises:
      UserError: there are no images.
    """
    images_folder, folder = _folders(root, split)
    images = image_files(images_folder)
    if not images:
        raise UserError(f"no images in {images_folder}")
    # Films and RAW photos lie beside the images that they belong to, under their names.
    images.sort(key=lambda path: not path.lower().endswith(IMAGE_SUFFIXES))
    masks = _masks_in(folder, endings)
    found: dict[str, MaskAnnotation] = {}
    refused = []
    seen: set[str] = set()
    for image in images:
        key = _key(image)
        paths = masks.get(key, [])
        if key in seen:
            refused.append((os.path.basename(image), "another image has this name, or one alike"))
        elif not paths:
            wanted = os.path.join(folder, _stem(image))
            reason = f"it has neither {wanted}.png nor masks in the folder {wanted}"
            refused.append((_stem(image), reason))
        elif len(paths) > 1:
            alike = len(set(map(_composed, paths))) < len(paths)  # but for how accents are written
            named = " and ".join(map(ascii, paths) if alike else paths)
            refused.append((_stem(image), f"it has {named}; keep one of them"))
        else:
            parts = _pictures_in(paths[0])
            found[image] = MaskAnnotation(image, tuple(parts) or paths[0], rules)
        seen.add(key)
    for path in (path for key, paths in masks.items() if key not in seen for path in paths):
        refused.append((path, f"no image in {images_folder} has its name"))
    return Split([found[image] for image in sorted(found)], refused)


def _folders(root: str, split: str) -> tuple[str, str]:
    """Returns the folders of a split's images and masks."""
    images, masks = (as_spelt(os.path.join(root, name, split)) for name in ("images", "masks"))
    return images.rstrip("/"), masks.rstrip("/")


def _masks_in(folder: str, endings: tuple[str, ...]) -> dict[str, list[str]]:
    """Returns the pictures in a folder, and folders of pictures, by the name of their image."""
    masks: dict[str, list[str]] = {}
    for name in list_folder(folder):
        path = os.path.join(folder, name)
        if name.lower().endswith(endings):
            masks.setdefault(_key(path), []).append(path)
        elif _pictures_in(path):
            masks.setdefault(_composed(name), []).append(path)
    return masks


def _pictures_in(folder: str) -> list[str]:
    names = [name for name in list_folder(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    return [os.path.join(folder, name) for name in names]


def panoptic_of_classes(
    picture: LabelPicture, labels: LabelSpace, rules: MaskRules
) -> tuple[np.ndarray, Areas]:
    """Turns a picture [H, W] of classes into panoptic ids.

    Returns:
      [H, W] int32 panoptic ids, and the areas of the segments.

    Raises:
      BadExampleError: values that are of no class.
    """
    class_ids = classes_of(picture, labels, rules).astype(np.int32)
    class_map = class_ids[picture.kinds]  # [H, W]
    panoptic = class_map * np.int32(labels.label_divisor)
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
    paths: Sequence[str], image: EncodedImage, labels: LabelSpace
) -> tuple[np.ndarray, Areas]:
    """Paints the masks of an image over each other: stuff first, then things, large ones first."""
    shape = (image.height, image.width)
    classes = {_composed(category.name): category for category in labels.classes}
    categories = [_class_of_mask(path, classes) for path in paths]
    masks = [_read_mask(path, image) for path in paths]
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
    stem = _key(path)
    category = classes.get(stem) or classes.get(_NUMBER.sub("", stem))
    if category is None:
        raise BadExampleError(
            f"{path} is named after no class; a mask is called CLASS.png, or CLASS and a number "
            f"(the classes: {some(classes)})"
        )
    return category


def _read_mask(path: str, image: EncodedImage) -> np.ndarray:
    """Returns [H, W] bool."""
    picture = of_size(read_label_picture(path), image, path)
    try:
        inside: np.ndarray = inside_of(picture)[picture.kinds]
    except BadExampleError as error:
        raise BadExampleError(f"{path}: {error}") from error
    return inside


def of_size(picture: LabelPicture, image: EncodedImage, path: str) -> LabelPicture:
    """Returns a picture of labels; raises BadExampleError if its image is of another size."""
    check_size(picture.kinds.shape, image, path)
    return picture


def check_size(shape: tuple[int, ...], image: EncodedImage, path: str) -> None:
    """Raises BadExampleError if labels of a shape [H, W] are not of their image's size."""
    height, width = shape
    if (height, width) != (image.height, image.width):
        turned = (width, height) == (image.height, image.width)
        advice = "; a rotation in the image's EXIF data is applied to it" * turned
        raise BadExampleError(
            f"{path} is {width} x {height} but its image is {image.width} x {image.height}; labels "
            f"must have the size of their image{advice}"
        )


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _key(path: str) -> str:
    """Returns the name of a file without ending, the same for all spellings of it."""
    return _composed(_stem(path))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
