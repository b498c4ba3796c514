"""Examples of COCO instance annotations: images with what their masks make of them."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.conversion.coco_format import Split
from kmax_tf.conversion.coco_instances import Instance, InstancesJson
from kmax_tf.conversion.painting import PaintingRules, Piece, paint
from kmax_tf.errors import BadExampleError
from kmax_tf.files.image_index import ImageIndex
from kmax_tf.files.images import read_encoded
from kmax_tf.labels import LabelSpace
from kmax_tf.panoptic import fields
from kmax_tf.panoptic.fields import FieldError, ImageId
from kmax_tf.panoptic.instance_masks import decode_mask
from kmax_tf.records.examples import LabeledImage, image_names
from kmax_tf.wording import count_of, some


@dataclasses.dataclass(frozen=True)
class InstancesAnnotation:
    """The instances of an image.

    Attributes:
      image_path: file of the image.
      instances: in the file's order.
      name: what the image is known by (`records.image_names`).
      source_id: its id in the JSON.
      size: height and width that the JSON gives it.
      incomplete: whether annotations of it were left out already.
      rules: how masks become a label.
    """

    image_path: str
    instances: tuple[Instance, ...]
    name: str
    source_id: ImageId
    size: tuple[int, int] | None
    incomplete: bool
    rules: PaintingRules

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the files that the example is made of, beside the JSON."""
        return (self.image_path,)

    def load(self, labels: LabelSpace, treat_crowd_as_ignore: bool = True) -> LabeledImage:
        """Reads and checks the image and its masks; masks that are none are left out.

        Raises:
          BadExampleError: the image can't be read, is of another size, or keeps no mask.
        """
        image = read_encoded(self.image_path)
        if self.size not in (None, (image.height, image.width)):
            height, width = self.size or (0, 0)
            turned = (width, height) == (image.height, image.width)
            advice = "; a rotation in its EXIF data is applied to it" * turned
            raise BadExampleError(
                f"{self.image_path} is {image.width} x {image.height}, but its annotations are of "
                f"{width} x {height}; annotate the image as it is, or give that of this size"
                f"{advice}"
            )
        names = {category.name: category for category in labels.classes}
        pieces, kept, refused = [], [], []
        for instance in self.instances:
            left_out: list[str] = []
            try:
                category = names.get(instance.category)
                if category is None:
                    raise FieldError(
                        f"its category {instance.category!r} is no class of the dataset "
                        f"'{labels.name}'; add it there"
                    )
                mask = decode_mask(instance.segmentation, image.height, image.width, left_out)
                pieces.append(Piece(category, mask, instance.crowd))
                kept.append(instance.where)
            except FieldError as error:
                left_out = [str(error)]
            refused += [(instance.where, reason) for reason in left_out]
        if self.instances and not pieces:
            raise BadExampleError(
                f"none of its {count_of(len(self.instances), 'annotation')} can be used; the "
                f"first, {refused[0][0]}: {refused[0][1]}"
            )
        shape = (image.height, image.width)
        lost = self.incomplete or len(pieces) < len(self.instances)
        painted = paint(pieces, shape, labels, self.rules, lost, treat_crowd_as_ignore)
        for place in painted.hidden:
            refused.append((kept[place], _why_hidden(place, pieces, kept)))
        return LabeledImage(
            self.name,
            image,
            painted.panoptic,
            painted.areas,
            self.source_id,
            {**painted.counts, **_origins(self.instances)},
            tuple(refused),
        )


def split_of_instances(found: InstancesJson, index: ImageIndex, rules: PaintingRules) -> Split:
    """Pairs the entries of a file with images.

    An image without annotations is left out, unless what no mask covers is background.
    """
    refused = list(found.refused)
    paths: dict[ImageId, str] = {}
    for key, image in found.images.items():
        try:
            paths[key] = index.find(image.file_name)
        except ValueError as error:
            refused.append((image.file_name, f"{error}; its annotations are left out"))
    for path, keys in _keys_by_value(paths).items():
        if len(keys) > 1:
            ids = some(fields.show(found.images[key].source_id) for key in keys)
            refused.append((path, f"the images of the ids {ids} are this one file; list it once"))
            for key in keys:
                del paths[key]
    annotations = []
    known_by = image_names(list(paths.values()))
    for (key, path), name in zip(paths.items(), known_by):
        instances = tuple(found.instances.get(key, ()))
        if not instances and (key in found.incomplete or not rules.background):
            reason = "all its annotations are left out"
            if key not in found.incomplete:
                reason = (
                    f"it has no annotation in {found.path}; annotate it, or make what no mask "
                    "covers a class (--background NAME)"
                )
            refused.append((path, reason))
            continue
        image = found.images[key]
        annotations.append(
            InstancesAnnotation(
                os.path.join(index.folder, path),
                instances,
                name,
                image.source_id,
                image.size,
                key in found.incomplete,
                rules,
            )
        )
    return Split(annotations, refused)


def _why_hidden(place: int, pieces: Sequence[Piece], names: Sequence[str]) -> str:
    mask = pieces[place].mask
    for other, piece in enumerate(pieces):
        if other != place and np.array_equal(piece.mask, mask):
            return f"its mask is that of {names[other]}; remove one"
    return "the masks above it leave no pixel of it; draw only what is seen, or try --overlaps"


def _origins(instances: Sequence[Instance]) -> dict[str, int]:
    """Counts labels by their origin, as the report calls it."""
    counts = collections.Counter(instance.origin for instance in instances if instance.origin)
    return {f"labels of the origin {origin}": count for origin, count in sorted(counts.items())}


def _keys_by_value(values: Mapping[ImageId, str]) -> dict[str, list[ImageId]]:
    keys: dict[str, list[ImageId]] = collections.defaultdict(list)
    for key, value in values.items():
        keys[value].append(key)
    return keys
