"""Reader of COCO instance annotations, whose masks `instance_examples` makes labels of.

What is wrong with an entry leaves this entry out, with a sentence; the others go on.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kmax_tf.conversion.descriptions import class_name
from kmax_tf.errors import UserError
from kmax_tf.files.image_index import ImageIndex
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.coco_json import entries, read_json
from kmax_tf.panoptic.entries import LARGEST_CATEGORY_ID, ORIGINS, CategoryEntry
from kmax_tf.panoptic.fields import FieldError, ImageId
from kmax_tf.wording import count_of, some

Refused = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Instance:
    """An entry of annotations.

    Attributes:
      where: what a message calls it.
      category: name of its class.
      crowd: whether it is a crowd region.
      segmentation: polygons or run lengths, as they stand in the JSON.
      origin: that its attributes say it is from (`kmax convert-predictions compare`); "" if none.
    """

    where: str
    category: str
    crowd: bool
    segmentation: Any
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class ListedImage:
    """An entry of images.

    Attributes:
      source_id: its id in the JSON.
      file_name: as it stands there.
      size: height and width, where they are given.
    """

    source_id: ImageId
    file_name: str
    size: tuple[int, int] | None


@dataclasses.dataclass
class InstancesJson:
    """A file of the format.

    Attributes:
      path: of the file.
      images: by id.
      instances: by the image's id.
      incomplete: ids of images that lost an annotation.
      names: of the categories, by id; two ids of one name are one class.
      things: what the file says of a class' kind, by name.
      refused: name and reason of the entries that are left out.
      crowds: number of annotations that are marked as crowd regions.
      crowds_are_instances: whether that mark means nothing.
    """

    path: str
    images: dict[ImageId, ListedImage] = dataclasses.field(default_factory=dict)
    instances: dict[ImageId, list[Instance]] = dataclasses.field(default_factory=dict)
    incomplete: set[ImageId] = dataclasses.field(default_factory=set)
    names: dict[int, str] = dataclasses.field(default_factory=dict)
    things: dict[str, bool] = dataclasses.field(default_factory=dict)
    refused: Refused = dataclasses.field(default_factory=list)
    crowds: int = 0
    crowds_are_instances: bool = False


def read_instances(path: str, no_crowd: bool = False) -> InstancesJson:
    """Reads a file; each of its entries is checked, but for masks, which take an image's size.

    Datumaro, and so CVAT, marks all masks that are no polygons as crowd regions. Where a file has
    nothing but crowd regions, they are therefore instances.

    Args:
      path: of the file.
      no_crowd: what is marked as a crowd region is an instance.

    Raises:
      UserError: the file can't be read, or lists no annotations or images.
    """
    content = read_json(path, "any")
    found = InstancesJson(path)
    _read_categories(found, entries(content.get("categories"), "categories", path))
    _read_images(found, entries(content.get("images"), "images", path))
    for what, listed in (("images", found.images), ("annotations", content["annotations"])):
        if not listed:
            raise UserError(f"{path} lists no {what} that can be used; there is nothing to convert")
    for number, entry in enumerate(content["annotations"]):
        where = _where("annotation", number, entry, path)
        key: ImageId | None = None
        try:
            key = fields.as_number(fields.image_id(fields.require_object(entry), "image_id"))
            if key not in found.images:
                raise FieldError(f"image_id {fields.show(key)} is not among the images")
            instance = _parse_instance(where, entry, found.names)
            found.instances.setdefault(key, []).append(instance)
        except FieldError as error:
            found.refused.append((where, str(error)))
            if key is not None:
                found.incomplete.add(key)
    every = [instance for listed in found.instances.values() for instance in listed]
    found.crowds = sum(instance.crowd for instance in every)
    found.crowds_are_instances = no_crowd or found.crowds == len(every)
    if found.crowds_are_instances:
        found.instances = {
            key: [dataclasses.replace(instance, crowd=False) for instance in listed]
            for key, listed in found.instances.items()
        }
    return found


def classes_of_instances(
    files: Sequence[InstancesJson], stuff: Sequence[str] | None, background: str
) -> tuple[list[CategoryEntry], Refused]:
    """Returns the classes of the files of all splits, and the categories that no annotation has.

    Classes are told apart by name; the first file that has one gives its id.

    Args:
      files: of the splits.
      stuff: names of the classes that are stuff; None: as the files say, and things where they
        say nothing.
      background: name of the stuff class of what no mask covers; "" without.

    Raises:
      UserError: `stuff` names no class, or no annotation is left.
    """
    used = {i.category for file in files for listed in file.instances.values() for i in listed}
    ids: dict[str, int] = {}
    said: dict[str, bool] = {}
    unused: dict[str, str] = {}
    for file in files:
        said = {**file.things, **said}
        for category_id, name in file.names.items():
            if name in used or name == background:
                ids.setdefault(name, category_id)
            else:
                unused.setdefault(name, file.path)
    if background:
        ids.setdefault(background, 0)
    unknown = sorted(set(stuff or ()) - set(ids))
    if unknown:
        raise UserError(f"--stuff {unknown[0]} is no class; these are: {some(ids)}")
    if not used:
        reasons = [": ".join(item) for file in files for item in file.refused]
        first = f"; the first: {reasons[0]}" if reasons else ""
        raise UserError(f"{files[0].path} has no annotation that can be used{first}")
    # What files of several splits call by one id are still classes of their own.
    taken: set[int] = set()
    classes = []
    for name, given in ids.items():
        category_id = given if given not in taken else max(*taken, *ids.values()) + 1
        taken.add(category_id)
        thing = said.get(name, True) if stuff is None else name not in stuff
        classes.append(CategoryEntry(category_id, name, thing and name != background))
    return classes, [
        (f"category {name!r} of {path}", "no annotation has it; it is left out of the classes")
        for name, path in unused.items()
    ]


def most_instances(files: Sequence[InstancesJson]) -> int:
    """Returns the most instances that a class has in an image."""
    return max(
        max(collections.Counter(instance.category for instance in listed).values())
        for file in files
        for listed in file.instances.values()
    )


def unlisted_images(files: Sequence[InstancesJson], index: ImageIndex) -> Refused:
    """Returns the images of a folder that no file lists."""
    listed = set()
    for image in (image for file in files for image in file.images.values()):
        try:
            listed.add(index.find(image.file_name))
        except ValueError:
            continue  # told when it is paired
    where = some(file.path for file in files)
    return [(p, f"it isn't listed in {where}") for p in index.paths if p not in listed]


def _read_categories(found: InstancesJson, listed: Sequence[Any]) -> None:
    names: dict[int, set[str]] = {}
    for number, entry in enumerate(listed):
        where = _where("category", number, entry, found.path)
        try:
            category_id = _whole(fields.require_object(entry), "id")
            name = class_name(fields.text(entry, "name"))
            if "isthing" in entry:
                found.things.setdefault(name, fields.flag(entry, "isthing"))
            names.setdefault(category_id, set()).add(name)
        except (FieldError, ValueError) as error:
            found.refused.append((where, f"{error}; annotations of it are left out"))
    for category_id, alike in names.items():
        if len(alike) == 1:
            (found.names[category_id],) = alike
        else:
            reason = f"{some(sorted(alike))} have this id; give each its own"
            found.refused.append((f"category {category_id} of {found.path}", reason))


def _read_images(found: InstancesJson, listed: Sequence[Any]) -> None:
    parsed: dict[ImageId, list[ListedImage]] = {}
    for number, entry in enumerate(listed):
        try:
            source_id = fields.image_id(fields.require_object(entry), "id")
            image = ListedImage(source_id, fields.text(entry, "file_name"), _size(entry))
            alike = parsed.setdefault(fields.as_number(source_id), [])
            if image not in alike:
                alike.append(image)
        except FieldError as error:
            found.refused.append((_where("image", number, entry, found.path), str(error)))
    for key, images in parsed.items():
        if len(images) == 1:
            found.images[key] = images[0]
            continue
        for image in images:
            others = count_of(len(images) - 1, "other image")
            reason = f"its id {fields.show(key)} is also that of {others}; give each its own"
            found.refused.append((image.file_name, reason))


def _parse_instance(where: str, entry: Mapping[str, Any], names: Mapping[int, str]) -> Instance:
    category_id = _whole(entry, "category_id")
    if category_id not in names:
        raise FieldError(f"category_id {category_id} is none of the file's categories; list it")
    segmentation = entry.get("segmentation")
    if not segmentation:
        has = "has only a box" if entry.get("bbox") else "has no mask"
        raise FieldError(f"it {has}; give it a polygon or run lengths (segmentation)")
    if not isinstance(segmentation, (list, dict)):
        raise FieldError(
            f"segmentation must be polygons or run lengths, not {fields.show(segmentation)}"
        )
    crowd = fields.flag(entry, "iscrowd") if entry.get("iscrowd") is not None else False
    attributes = entry.get("attributes")
    origin = attributes.get("origin") if isinstance(attributes, dict) else None
    known = origin if isinstance(origin, str) and origin in ORIGINS else ""
    return Instance(where, names[category_id], crowd, segmentation, known)


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    if entry.get("height") is None or entry.get("width") is None:
        return None
    return fields.whole(entry, "height", 1), fields.whole(entry, "width", 1)


def _whole(entry: Mapping[str, Any], key: str) -> int:
    """Reads the id of a category; "7", as some tools write it, is 7."""
    value = fields.required(entry, key)
    number = fields.as_number(value) if isinstance(value, str) else value
    return fields.whole({**entry, key: number}, key, 0, LARGEST_CATEGORY_ID)


def _where(what: str, number: int, entry: Any, path: str) -> str:
    """Returns what a message calls an entry: by its id, where that is one."""
    known = entry.get("id") if isinstance(entry, dict) else None
    by_id = f" (id {fields.show(known)})" if isinstance(known, (int, str)) else ""
    return f"{what} {number}{by_id} of {os.path.basename(path)}"
