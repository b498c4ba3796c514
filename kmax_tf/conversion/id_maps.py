"""Images with instance-id maps, as microscopy has them: a pixel's value is its instance's number.

ROOT/images/NAME.tif has its map in ROOT/masks/NAME.png, .tif or .npy, of up to 32 bits; 0 is of no
instance. The class of an id is that of all of them; or ROOT/instances.csv says it, with the columns
id and class, and image, unless ids mean the same everywhere; or ROOT/classes/NAME.png, a picture of
classes, has it, where most of the id's pixels are.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.conversion.coco_format import Split
from kmax_tf.conversion.descriptions import class_name
from kmax_tf.conversion.label_pictures import read_label_picture
from kmax_tf.conversion.mask_classes import MaskRules, classes_of
from kmax_tf.conversion.masks_format import MAP_SUFFIXES, check_size, read_mask_split
from kmax_tf.conversion.painting import PaintingRules, label_regions
from kmax_tf.errors import BadExampleError, UserError
from kmax_tf.files.images import read_encoded
from kmax_tf.files.opening import read_bytes
from kmax_tf.files.reading import is_file, is_folder, read_file
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.panoptic.runs import Runs, find_runs
from kmax_tf.records.examples import LabeledImage
from kmax_tf.wording import some

_COLUMNS = {"id", "class"}
_LARGEST = 2**32
_ANY = MaskRules()


@dataclasses.dataclass(frozen=True)
class IdClasses:
    """What the ids of an image mean.

    Attributes:
      only: the class of all ids; "" where they have several.
      listed: (id, class) of each id.
      map_path: picture of classes; "" without.
      map_rules: how its pixels mean classes.
    """

    only: str = ""
    listed: tuple[tuple[int, str], ...] = ()
    map_path: str = ""
    map_rules: MaskRules = _ANY


@dataclasses.dataclass(frozen=True)
class IdMapAnnotation:
    """An image with its map of ids.

    Attributes:
      image_path: file of the image.
      map_path: the map.
      name: of the image.
      classes: what ids mean.
      rules: what ids that are none become.
    """

    image_path: str
    map_path: str
    name: str
    classes: IdClasses
    rules: PaintingRules

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of."""
        class_map = (self.classes.map_path,) if self.classes.map_path else ()
        return (self.image_path, self.map_path, *class_map)

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its map, without crowds; ids of no class are left out.

        Raises:
          BadExampleError: files are missing or corrupt, or contradict each other.
        """
        del treat_crowd_as_ignore
        image = read_encoded(self.image_path)
        ids = read_id_map(self.map_path)
        check_size(ids.shape, image, self.map_path)
        runs = find_runs(ids)
        if runs.values[0] < 0:
            raise BadExampleError(
                f"{self.map_path} has negative ids such as {runs.values[0]}; 0 is what belongs to "
                "no instance"
            )
        categories, counts = self._categories(runs, labels)
        regions, refused = [], []
        table = np.zeros(len(runs.values), np.int32)
        for place, value in enumerate(runs.values.tolist()):
            category = categories.get(value)
            if category is not None:
                regions.append((category, False))
                table[place] = len(regions)
            elif value:
                refused.append((f"id {value} of {self.map_path}", self._reason()))
        painted = label_regions(
            runs.paint(table), regions, labels, self.rules, bool(refused), counts=counts
        )
        return LabeledImage(
            self.name,
            image,
            painted.panoptic,
            painted.areas,
            counts=painted.counts,
            refused=tuple(refused),
        )

    def _categories(
        self, runs: Runs, labels: LabelSpace
    ) -> tuple[dict[int, Category], dict[str, int]]:
        """Returns the class of each id that has one, and what is to be counted."""
        names = {category.name: category for category in labels.classes}
        ids = [value for value in runs.values.tolist() if value]
        if self.classes.only:
            return {value: names[self.classes.only] for value in ids}, {}
        if not self.classes.map_path:
            listed = dict(self.classes.listed)
            return {v: names[listed[v]] for v in ids if listed.get(v) in names}, {}
        path = self.classes.map_path
        picture = read_label_picture(path)
        if picture.kinds.shape != runs.shape:
            raise BadExampleError(f"{path} has another size than {self.map_path}; they must agree")
        try:
            class_ids = classes_of(picture, labels, self.classes.map_rules)
        except BadExampleError as error:
            raise BadExampleError(f"{path}: {error}") from error
        pixels = np.zeros((len(runs.values), len(class_ids)), np.int64)  # [ids, kinds of pixels]
        np.add.at(pixels, (runs.places(), picture.kinds), 1)
        by_class = {
            category: pixels[:, class_ids == category.id].sum(axis=1) for category in labels.classes
        }
        found, mixed = {}, 0
        for place, value in enumerate(runs.values.tolist()):
            shares = {category: int(count[place]) for category, count in by_class.items()}
            best = max(shares, key=lambda category: shares[category])
            if value and shares[best]:
                found[value] = best
                mixed += sum(map(bool, shares.values())) > 1
        return found, {"ids whose pixels are of several classes": mixed} if mixed else {}

    def _reason(self) -> str:
        if self.classes.map_path:
            return f"no pixel of it has a class in {self.classes.map_path}; give it one"
        return "instances.csv doesn't list it with a class of the dataset; add a row, or make it 0"


def read_id_map(path: str) -> np.ndarray:
    """Reads a map of ids: [H, W] int64; of a picture the stored values, or indices of a palette.

    Raises:
      BadExampleError: the file is missing or damaged, or holds no map of whole numbers.
    """
    if not path.lower().endswith(".npy"):
        picture = read_label_picture(path)
        if picture.stored is None:
            raise BadExampleError(
                f"{path} shows colors; save ids as grey values of 8, 16 or 32 bits, or as NPY"
            )
        ids: np.ndarray = picture.stored[picture.kinds]
        return ids
    try:
        values = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadExampleError(
            f"{path} is no NPY file of numbers ({error}); save the map alone by numpy.save"
        ) from error
    whole = values.dtype.kind in "uib" or (
        values.dtype.kind == "f" and np.isfinite(values).all() and (values == values.round()).all()
    )
    if values.ndim != 2 or not values.size or not whole or np.abs(values).max() >= _LARGEST:
        raise BadExampleError(
            f"{path} is an array of {values.dtype} {values.shape}; a map of ids is [height, width] "
            "of whole numbers below 2^32"
        )
    return values.astype(np.int64)


def read_id_split(root: str, split: str, classes: IdTable, rules: PaintingRules) -> Split:
    """Finds the images of a split and their maps; nothing is opened.

    Raises:
      UserError: there are no images.
    """
    paired = read_mask_split(root, split, MaskRules(), MAP_SUFFIXES)
    refused = list(paired.refused)
    annotations = []
    for found in paired.annotations:
        meaning = classes.of(found.name, split)
        if isinstance(found.masks, str):
            annotations.append(
                IdMapAnnotation(found.image_path, found.masks, found.name, meaning, rules)
            )
        else:
            reason = "it has a folder of masks; a map of ids is one file, or use the layout masks"
            refused.append((found.name, reason))
    return Split(annotations, refused)


@dataclasses.dataclass(frozen=True)
class IdTable:
    """What the ids of a dataset mean.

    Attributes:
      only: the class of all ids; "" where they have several.
      by_image: class of each id by the image's name; under "" for all images.
      class_maps: folder of pictures of classes; "" without.
      map_rules: how their pixels mean classes.
    """

    only: str = ""
    by_image: Mapping[str, Mapping[int, str]] = dataclasses.field(default_factory=dict)
    class_maps: str = ""
    map_rules: MaskRules = _ANY

    def of(self, name: str, split: str) -> IdClasses:
        """Returns what the ids of an image mean."""
        if self.class_maps:
            path = os.path.join(self.class_maps, split, f"{name}.png")
            return IdClasses(map_path=path, map_rules=self.map_rules)
        listed = {**self.by_image.get("", {}), **self.by_image.get(name, {})}
        return IdClasses(self.only, tuple(sorted(listed.items())))

    @property
    def names(self) -> list[str]:
        """Returns the classes that are named, in order."""
        listed = [name for ids in self.by_image.values() for name in ids.values()]
        return list(dict.fromkeys([self.only] if self.only else listed))


def read_instance_table(path: str) -> dict[str, dict[int, str]]:
    """Reads a table with the columns id and class, and perhaps image, of a CSV file.

    Returns:
      The class of each id, by the image's file name without ending; "" is any image.

    Raises:
      UserError: it can't be read, or a row isn't such.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); save it as CSV UTF-8") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    columns = [str(column).strip().lower() for column in rows.fieldnames or ()]
    if not set(columns) >= _COLUMNS:
        raise UserError(f"{path} must have the columns id and class, not {some(columns)}")
    found: dict[str, dict[int, str]] = {}
    for number, row in enumerate(rows, start=2):
        cells = dict(zip(columns, (str(cell or "").strip() for cell in row.values())))
        try:
            instance, name = int(cells["id"]), class_name(cells["class"])
        except ValueError as error:
            raise UserError(f"line {number} of {path}: {error}") from error
        image = os.path.splitext(os.path.basename(cells.get("image", "")))[0]
        other = found.setdefault(image, {}).setdefault(instance, name)
        if other != name:
            raise UserError(
                f"line {number} of {path}: the id {instance} is {other} and {name}; keep one"
            )
    return found


def find_id_table(root: str, only: str | None, rules: MaskRules, classes: Sequence[str]) -> IdTable:
    """Returns what says the classes of ids: the one that is given, a table, or pictures of classes.

    Args:
      root: folder of the dataset.
      only: name of the class of all ids, if it is given.
      rules: how pixels of pictures of classes mean classes.
      classes: names of a list of classes, if there is one.

    Raises:
      UserError: nothing says it.
    """
    table = os.path.join(root, "instances.csv")
    pictures = os.path.join(root, "classes")
    if only:
        return IdTable(only)
    if is_file(table):
        return IdTable(by_image=read_instance_table(table))
    if classes and is_folder(pictures):
        return IdTable(class_maps=pictures, map_rules=rules)
    raise UserError(
        f"nothing says which class the ids in {root} have: give --class NAME for one class, "
        "instances.csv with the columns image, id and class, or pictures of classes in classes/ "
        "with their list in classes.csv"
    )
